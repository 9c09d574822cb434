"""Commands on units' machines."""

import argparse
import shlex
import sys
from typing import Any

from tabletop.client import NOT_FOUND, RemoteError
from tabletop.commands import Command, UsageError
from tabletop.commands.machinery import entrance
from tabletop.commands.options import add_format, add_ignored, add_model, duration
from tabletop.commands.run import failures
from tabletop.errors import TabletopError
from tabletop.format import note, result
from tabletop.session import Session

DEFAULT_WAIT_S = 300.0
_SSH_OPTIONS_WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"


class Exec(Command):
    """`exec`."""

    intermixed = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument(
            "-u", "--unit", action="append", default=[], metavar="UNIT[,...]", help="app/0 or app/leader"
        )
        parser.add_argument("-a", "--app", "--application", action="append", default=[], metavar="APPLICATION[,...]")
        parser.add_argument("--machine", action="append", default=[], metavar="NUMBER[,...]")
        parser.add_argument("--all", action="store_true", help="every machine of the model")
        parser.add_argument("--wait", type=duration, default=DEFAULT_WAIT_S, metavar="DURATION", help="default 5m")
        add_ignored(parser, {"--parallel": "BOOL", "--execution-group": "NAME"}, why="units run it one after another")
        add_format(parser, "plain", "json", "yaml")
        parser.add_argument("command", nargs=argparse.REMAINDER, help="a shell command, or a command and its arguments")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Run it on each target and print what it printed; exit status 1 if it failed anywhere."""
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
            unit = str(answer.pop("unit", target))
            tasks[unit] = {"id": str(answer.pop("id", "0")), "results": answer, "status": "completed", "unit": unit}
        if args.format == "plain":
            _print_plain(tasks)
        elif tasks:
            result(tasks, args.format)
        return failures(tasks.values())

    def _targets(self, session: Session, model: str, args: argparse.Namespace) -> list[str]:
        targets = [name for text in (*args.unit, *args.machine) for name in text.split(",")]
        apps = [name for text in args.app for name in text.split(",")]
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


class Ssh(Command):
    """`ssh`, without ssh: the machine is entered directly."""

    intermixed = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_ignored(
            parser, {"--no-host-key-checks": None, "--proxy": None, "--pty": "BOOL"}, why="there is no ssh in between"
        )
        add_ignored(parser, {"--container": "NAME"}, why="it is for Kubernetes models")
        parser.add_argument("target", metavar="[USER@]UNIT | [USER@]MACHINE")
        parser.add_argument("command", nargs=argparse.REMAINDER, help="a shell command; without one, a shell is opened")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Run the shell or the command; its exit status is this one's."""
        way = entrance(session, session.model(args.model), args.target)
        command = _without_ssh_options(args.command)
        argv = ["/bin/bash", "-c", " ".join(command)] if command else ["/bin/bash", "-l"]
        sys.stdout.flush()
        with way.popen(argv, terminal=sys.stdin.isatty()) as process:
            return process.wait()


def _without_ssh_options(words: list[str]) -> list[str]:
    """Drop the options of the ssh client that stand before the command; there is no ssh client here."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        position += 1
        if word == "--":
            break
        note(f"NOTICE {word} has no effect: there is no ssh in between")
        if len(word) == 2 and word[1] in _SSH_OPTIONS_WITH_VALUE:
            position += 1
    return words[position:]


def _print_plain(tasks: dict[str, dict[str, Any]]) -> None:
    for unit, task in sorted(tasks.items()):
        if len(tasks) > 1:
            sys.stdout.write(f"{unit}:\n")
        for stream in ("stdout", "stderr"):
            text = str(task["results"].get(stream) or "")
            sys.stdout.write(text if not text or text.endswith("\n") else text + "\n")
        if len(tasks) > 1:
            sys.stdout.write("\n")
