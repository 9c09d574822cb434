"""What the tests of real daemons share."""

import logging
import sys
from pathlib import Path

# The tests' own modules: pytest's importlib mode puts no test folder on the path.
sys.path.insert(0, str(Path(__file__).parent))

# Pika reports on every attempt to connect; the tests have their own way of telling.
logging.getLogger("pika").setLevel(logging.CRITICAL)
