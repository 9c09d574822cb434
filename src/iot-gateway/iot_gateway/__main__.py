"""``python3 -m iot_gateway``."""

import sys

from iot_gateway.cli import main

sys.exit(main())
