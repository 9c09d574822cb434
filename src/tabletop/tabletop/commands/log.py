"""The log of a model: what hooks and tabletop itself have to say."""

import argparse
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_ignored, add_model
from tabletop.format import out
from tabletop.session import Session

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_LINES = 10
_WAIT_S = 20.0


class DebugLog(Command):
    """`debug-log`."""

    notes = """\
On a terminal it goes on with what comes, until interrupted; elsewhere it ends after what there is, unless --tail is
given. An entity is a unit (store/0), an application (store, or store/*), machine-0, or those as Juju writes them
(unit-store-0); * at the end stands for anything. Filters come before the limit."""
    examples = (
        "debug-log --tail",
        "debug-log --replay --no-tail --include store/0 --level warning",
        "debug-log --limit 100 --exclude machine-0 --include-module unit",
    )

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
        parser.add_argument(
            "--include-module", action="append", default=[], metavar="MODULE", help="only these, and below"
        )
        parser.add_argument(
            "--exclude-module", action="append", default=[], metavar="MODULE", help="not these, nor below"
        )
        add_ignored(parser, {"--include-label": "LABEL", "--exclude-label": "LABEL"}, why="lines have no labels here")
        add_ignored(
            parser, {"--firehose": None, "--retry": None}, why="one model's log is read, and the daemon answers"
        )
        parser.add_argument("-l", "--level", type=str.upper, choices=LEVELS, help="this level and above")
        parser.add_argument("--date", "--ms", "--utc", "--location", "--color", action="store_true", help="accepted")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Print the lines there are, then those that come, until interrupted."""
        model = session.model(args.model)
        follow = args.tail or (args.limit is None and not args.no_tail and sys.stdout.isatty())
        backlog = args.limit if args.limit is not None else 0 if args.replay else args.lines
        last = self._backlog(session, model, args, backlog)
        while follow:
            sys.stdout.flush()
            for line in self._read(session, model, args, since_id=last, wait=_WAIT_S):
                last = line["id"]
                if _wanted(line, args):
                    out(format_line(line))

    def _backlog(self, session: Session, model: str, args: argparse.Namespace, count: int) -> int:
        """Print the last so many lines that are wanted (0: all of them); return the id of the last one read."""
        if count and not _filters(args):
            lines = self._read(session, model, args, limit=count)
            for line in lines:
                out(format_line(line))
            return max((line["id"] for line in lines), default=0)
        last = 0
        kept: deque[Mapping[str, Any]] = deque(maxlen=count or None)
        # They come in portions.
        while (lines := self._read(session, model, args, since_id=last)) and lines[-1]["id"] > last:
            last = lines[-1]["id"]
            kept.extend(line for line in lines if _wanted(line, args))
            while kept and not count:
                out(format_line(kept.popleft()))
        for line in kept:
            out(format_line(line))
        return last

    def _read(self, session: Session, model: str, args: argparse.Namespace, **which: Any) -> list[dict[str, Any]]:
        return session.call("debug_log", model=model, level=args.level, **which)["lines"]


def _filters(args: argparse.Namespace) -> bool:
    return bool(args.include or args.exclude or args.include_module or args.exclude_module)


def _wanted(line: Mapping[str, Any], args: argparse.Namespace) -> bool:
    entity, module = line["entity"], line["module"]
    if args.include and not any(_matches(entity, name) for name in args.include):
        return False
    if args.include_module and not any(_is_below(module, name) for name in args.include_module):
        return False
    if any(_matches(entity, name) for name in args.exclude):
        return False
    return not any(_is_below(module, name) for name in args.exclude_module)


def _is_below(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def format_line(line: Mapping[str, Any]) -> str:
    """Format a line of the log as `juju debug-log` does."""
    return f"{_tag(line['entity'])}: {line['time']} {line['level']} {line['module']} {line['message']}"


def _tag(entity: str) -> str:
    return f"unit-{entity.replace('/', '-')}" if "/" in entity else entity


def _matches(entity: str, name: str) -> bool:
    if name.endswith("*"):
        return entity.startswith(name[:-1]) or _tag(entity).startswith(name[:-1])
    return name in (entity, _tag(entity), _tag(entity).removeprefix("unit-"), entity.partition("/")[0])
