"""The log of a model: what hooks and tabletop itself have to say."""

import argparse
import time
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_model
from tabletop.format import out
from tabletop.session import Session

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_LINES = 10
_POLL_S = 0.5


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
        import sys

        model = session.model(args.model)
        follow = args.tail or (args.limit is None and not args.no_tail and sys.stdout.isatty())
        backlog = args.limit if args.limit is not None else 0 if args.replay else args.lines
        last = 0
        for line in self._lines(session, model, args, 0, backlog):
            last = max(last, line["id"])
        while follow:
            time.sleep(_POLL_S)
            for line in self._lines(session, model, args, last, 0):
                last = max(last, line["id"])
            sys.stdout.flush()

    def _lines(
        self, session: Session, model: str, args: argparse.Namespace, since: int, limit: int
    ) -> list[dict[str, Any]]:
        unit = args.include[0].removeprefix("unit-") if len(args.include) == 1 else None
        answer = session.call("debug_log", model=model, since_id=since, limit=limit, unit=unit, level=args.level)
        lines: list[dict[str, Any]] = answer["lines"]
        for line in lines:
            entity = str(line.get("entity") or line.get("unit") or "")
            if args.include and not any(_matches(entity, name) for name in args.include):
                continue
            if any(_matches(entity, name) for name in args.exclude):
                continue
            out(format_line(line))
        return lines


def format_line(line: dict[str, Any]) -> str:
    """Format a line of the log as `juju debug-log` does."""
    entity = str(line.get("entity") or line.get("unit") or "controller")
    module = str(line.get("module") or "")
    parts = [f"{_tag(entity)}:", str(line.get("time") or line.get("timestamp") or ""), str(line.get("level") or "INFO")]
    return " ".join(part for part in (*parts, module, str(line.get("message") or "")) if part)


def _tag(entity: str) -> str:
    return f"unit-{entity.replace('/', '-')}" if "/" in entity else entity


def _matches(entity: str, name: str) -> bool:
    if name.endswith("*"):
        return entity.startswith(name[:-1]) or _tag(entity).startswith(name[:-1])
    return entity == name or _tag(entity) == name or entity.partition("/")[0] == name
