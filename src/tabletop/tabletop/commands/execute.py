"""Commands on many units or machines at once, with their results."""

import argparse
import shlex
import sys
from typing import Any

from tabletop.client import NOT_FOUND, RemoteError
from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_ignored, add_model, duration, listed
from tabletop.commands.tasks import failures
from tabletop.errors import TabletopError
from tabletop.format import note, result
from tabletop.session import Session

DEFAULT_WAIT_S = 300.0


class Exec(Command):
    """`exec`."""

    intermixed = False
    notes = """\
On a unit it runs as root in a hook's context, so that hook tools work (config-get, relation-get), after the hook that
runs at the time; what it sets is committed if it exits with 0. On a machine it runs as root without one. One argument
is a line of shell, several are a command and its arguments. The exit status is 1 if it failed anywhere."""
    examples = (
        "exec --unit store/0 -- relation-ids data",
        'exec --application store "hostname; uptime"',
        "exec --machine 0,1 --wait 30s -- apt-get update",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument(
            "-u", "--unit", action="append", default=[], metavar="UNIT[,...]", help="app/0 or app/leader"
        )
        parser.add_argument(
            "-a",
            "--app",
            "--application",
            action="append",
            default=[],
            metavar="APPLICATION[,...]",
            help="all its units",
        )
        parser.add_argument("--machine", action="append", default=[], metavar="NUMBER[,...]", help="the machine itself")
        parser.add_argument("--all", action="store_true", help="every machine of the model")
        parser.add_argument("--wait", type=duration, default=DEFAULT_WAIT_S, metavar="DURATION", help="default 5m")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        parser.add_argument("--color", "--no-color", action="store_true", help="accepted: there are no colours")
        add_ignored(parser, {"--parallel": "BOOL", "--execution-group": "NAME"}, why="units run it one after another")
        add_ignored(parser, {"--operator": None}, why="it is for Kubernetes models")
        add_format(parser, "plain", "json", "yaml")
        parser.add_argument("command", nargs=argparse.REMAINDER, help="a shell command, or a command and its arguments")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Run it on each target and print what it printed."""
        model = session.model(args.model)
        words: list[str] = args.command[1:] if args.command[:1] == ["--"] else args.command
        if not words:
            raise UsageError("no commands specified")
        # One argument is a shell command; several are a command and its arguments, as in Juju.
        command = words[0] if len(words) == 1 else shlex.join(words)
        tasks: dict[str, dict[str, Any]] = {}
        for target in self._targets(session, model, args):
            try:
                answer = session.call(
                    "exec", model=model, target=target, argv=["/bin/bash", "-c", command], timeout=args.wait
                )
            except RemoteError as error:
                if error.kind != NOT_FOUND:
                    raise
                # Juju counts this as an operation without tasks, not as a failure; its clients rely on that.
                note(f"Operation failed to schedule any tasks:\n{error}")
                continue
            place = str(answer.pop("unit", target))
            kind = "unit" if "/" in place else "machine"
            tasks[place] = {"id": str(answer.pop("id", "0")), "results": answer, "status": "completed", kind: place}
        if args.format == "plain":
            _print_plain(tasks)
        elif tasks:
            result(tasks, args.format)
        return failures(tasks.values())

    def _targets(self, session: Session, model: str, args: argparse.Namespace) -> list[str]:
        targets = listed((*args.unit, *args.machine))
        apps = listed(args.app)
        if args.all and (targets or apps):
            raise UsageError("either --all, or the targets one by one")
        if args.all or apps:
            status = session.call("status", model=model)
            if args.all:
                targets = list(status.get("machines", {}))
            for app in apps:
                if app not in status.get("applications", {}):
                    raise TabletopError(f"application {app!r} not found")
                targets.extend(status["applications"][app].get("units", {}))
        elif not targets:
            raise UsageError("give a target: --unit, --application, --machine or --all")
        return targets


def _print_plain(tasks: dict[str, dict[str, Any]]) -> None:
    for unit, task in sorted(tasks.items()):
        if len(tasks) > 1:
            sys.stdout.write(f"{unit}:\n")
        for stream in ("stdout", "stderr"):
            text = str(task["results"].get(stream) or "")
            sys.stdout.write(text if not text or text.endswith("\n") else text + "\n")
        if len(tasks) > 1:
            sys.stdout.write("\n")
