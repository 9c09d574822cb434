"""``python -m iot_node``."""

import sys

from iot_node.cli import main

if __name__ == "__main__":
    sys.exit(main())
