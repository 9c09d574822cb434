"""The log of a model: what hooks and tabletop itself have to say."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_model
from tabletop.format import out
from tabletop.session import Session

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_LINES = 10
_WAIT_S = 20.0


class DebugLog(Command):
    """`debug-log`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("--replay", action="store_true", help="from the first line on")
        parser.add_argument("-n", "--lines", type=int, default=DEFAULT_LINES, help="how many lines back to begin")
        parser.add_argument("--limit", type=int, default=None, help="end after the last so many lines (0: all)")
        parser.add_argument("--tail", "-f", action="store_true", help="wait for more, even if output is no terminal")
        parser.add_argument("--no-tail", action="store_true", help="end after what there is")
        parser.add_argument("-i", "--include", action="append", default=[], metavar="UNIT", help="only these units")
        parser.add_argument("-x", "--exclude", action="append", default=[], metavar="UNIT", help="not these units")
        parser.add_argument("-l", "--level", type=str.upper, choices=LEVELS, help="this level and above")
        parser.add_argument("--date", "--ms", "--utc", "--location", "--color", action="store_true", help="accepted")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Print the lines there are, then those that come, until interrupted."""
        model = session.model(args.model)
        follow = args.tail or (args.limit is None and not args.no_tail and sys.stdout.isatty())
        backlog = args.limit if args.limit is not None else 0 if args.replay else args.lines
        lines = self._lines(session, model, args, limit=backlog)
        last = 0
        while lines or follow:
            last = max((line["id"] for line in lines), default=last)
            if backlog and not follow:
                return
            sys.stdout.flush()
            # Without a limit the lines come in portions.
            lines = self._lines(session, model, args, since_id=last, wait=_WAIT_S if follow else 0)

    def _lines(self, session: Session, model: str, args: argparse.Namespace, **which: Any) -> list[dict[str, Any]]:
        unit = args.include[0].removeprefix("unit-") if len(args.include) == 1 and "*" not in args.include[0] else None
        answer = session.call("debug_log", model=model, unit=unit, level=args.level, **which)
        lines: list[dict[str, Any]] = answer["lines"]
        for line in lines:
            wanted = not args.include or any(_matches(line["entity"], name) for name in args.include)
            if wanted and not any(_matches(line["entity"], name) for name in args.exclude):
                out(format_line(line))
        return lines


def format_line(line: Mapping[str, Any]) -> str:
    """Format a line of the log as `juju debug-log` does."""
    return f"{_tag(line['entity'])}: {line['time']} {line['level']} {line['module']} {line['message']}"


def _tag(entity: str) -> str:
    return f"unit-{entity.replace('/', '-')}" if "/" in entity else entity


def _matches(entity: str, name: str) -> bool:
    if name.endswith("*"):
        return entity.startswith(name[:-1]) or _tag(entity).startswith(name[:-1])
    return name in (entity, _tag(entity), _tag(entity).removeprefix("unit-"), entity.partition("/")[0])
