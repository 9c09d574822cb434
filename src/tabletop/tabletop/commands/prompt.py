"""Asking before something is removed."""

import argparse
import sys

from tabletop.format import note


def add_no_prompt(parser: argparse.ArgumentParser, *others: str) -> None:
    """Declare --no-prompt, and other names of it."""
    parser.add_argument("--no-prompt", *others, action="store_true", help="don't ask first")


def agreed(args: argparse.Namespace, warning: str) -> bool:
    """Ask on the terminal whether to go on, unless --no-prompt was given; without a terminal the answer is no."""
    if args.no_prompt:
        return True
    note(f"WARNING {warning}")
    if not sys.stdin.isatty():
        note("ERROR there is no terminal to ask on; give --no-prompt to go on without asking")
        return False
    sys.stderr.write("Continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
