"""Lets `python -m tabletop` be the command line."""

import sys

from tabletop.cli import main

sys.exit(main())
