"""What was run: operations and their tasks, on units that may be busy with them still."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_model, duration, listed
from tabletop.commands.tasks import ENDED, as_juju, wait_task
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, table
from tabletop.session import Session

_DEFAULT_LIMIT = 50
_MAX_TASKS = 5
_POLL_S = 0.5
_STATUSES = ("pending", "running", "completed", "failed", "cancelled", "aborting", "aborted", "error")


class Operations(Command):
    """`operations`."""

    notes = """\
One command is one operation, with a task for each unit it ran on; an operation has the number of its first task.
Without --actions and --machines, those of `exec` are left out, as Juju does; their action is juju-exec."""
    examples = (
        "operations",
        "operations --apps store --status failed,running",
        "operations --actions juju-exec --format json",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        for option, what, which in (
            ("actions", "ACTION", "of these actions"),
            ("units", "UNIT", "on these units"),
            ("machines", "NUMBER", "on these machines"),
            ("status", "STATUS", "that stand so"),
        ):
            parser.add_argument(
                f"--{option}", action="append", default=[], metavar=f"{what}[,...]", help=f"only those {which}"
            )
        parser.add_argument(
            "--apps",
            "--applications",
            action="append",
            default=[],
            metavar="APPLICATION[,...]",
            help="only those on units of these",
        )
        parser.add_argument("--limit", type=int, default=_DEFAULT_LIMIT, help=f"how many (default {_DEFAULT_LIMIT})")
        parser.add_argument("--offset", type=int, default=0, help="leave out so many at the beginning")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        add_format(parser, "plain", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List those that fit."""
        for status in listed(args.status):
            if status not in _STATUSES:
                raise UsageError(f'"{status}" is not a valid task status, want one of {", ".join(_STATUSES)}')
        everything: dict[str, Any] = session.call("operations", model=session.model(args.model))
        fitting = {key: body for key, body in everything.items() if _fits(body, args)}
        found = dict(list(fitting.items())[args.offset : args.offset + args.limit])
        if not found:
            note("no matching operations")
            return
        if args.format != "plain":
            result(found, args.format)
            return
        rows = [
            (
                key,
                body["status"],
                body["timing"].get("started", ""),
                body["timing"].get("completed", ""),
                ",".join(list(body["tasks"])[:_MAX_TASKS]) + ("..." if len(body["tasks"]) > _MAX_TASKS else ""),
                body["summary"],
            )
            for key, body in found.items()
        ]
        for line in table(("ID", "Status", "Started", "Finished", "Task IDs", "Summary"), rows, right=(0,)):
            out(line)


class ShowOperation(Command):
    """`show-operation`."""

    examples = ("show-operation 7", "show-operation 7 --wait 2m", "show-operation 7 --watch --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("operation", metavar="ID")
        _add_waiting(parser)

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it, when it has ended if that was asked for."""
        deadline = _deadline(args)
        model = session.model(args.model)
        while True:
            shown: dict[str, Any] = session.call("operation", model=model, id=args.operation)
            if shown["status"] in ENDED or not (args.watch or args.wait):
                break
            if deadline is not None and time.monotonic() >= deadline:
                raise TabletopError(f"timed out waiting for operation {args.operation}")
            time.sleep(_POLL_S)
        result(shown, args.format)


class ShowTask(Command):
    """`show-task`."""

    examples = ("show-task 8", "show-task 8 --wait 1m", "show-task 8 --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("task", metavar="ID")
        _add_waiting(parser)

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it, when it has ended if that was asked for."""
        deadline = _deadline(args)
        model = session.model(args.model)
        if args.wait or args.watch:
            task = wait_task(session, model, args.task, args.task, deadline)
        else:
            task = as_juju(session.call("task", model=model, id=args.task), args.task)
        result(task, args.format)


class CancelTask(Command):
    """`cancel-task`."""

    notes = """\
A task that waits never runs then. The program of one that runs is killed; what it had set is dropped. One that has
ended stays as it is, and is named."""
    examples = ("cancel-task 8", "cancel-task 8 9")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("tasks", nargs="+", metavar="ID")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Cancel each, and show how it is then."""
        model = session.model(args.model)
        for task in args.tasks:
            # All are looked up before the first is touched.
            session.call("task", model=model, id=task)
        shown: dict[str, Any] = {}
        for task in args.tasks:
            answer = as_juju(session.call("cancel_task", model=model, id=task), task)
            if answer["status"] in ("completed", "failed"):
                note(f"WARNING task {task} could not be cancelled: it has {answer['status']}")
            shown[task] = answer
        result(shown, args.format)


def _add_waiting(parser: argparse.ArgumentParser) -> None:
    """Declare how long to wait for what is shown, and the form of the output."""
    parser.add_argument("--wait", type=duration, metavar="DURATION", help="wait till it ends, at most so long")
    parser.add_argument("--watch", action="store_true", help="wait till it ends")
    parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
    add_format(parser, "yaml", "json")


def _deadline(args: argparse.Namespace) -> float | None:
    """Return until when to wait, by the monotonic clock; None: as long as it takes."""
    if args.watch and args.wait is not None:
        raise UsageError("specify either --watch or --wait but not both")
    return None if args.watch else time.monotonic() + (args.wait or 0.0)


def _fits(operation: Mapping[str, Any], args: argparse.Namespace) -> bool:
    actions, machines = listed(args.actions), listed(args.machines)
    name = operation["action"]["name"]
    if name not in actions if actions else name == "juju-exec" and not machines:
        return False
    statuses = listed(args.status)
    if statuses and operation["status"] not in statuses:
        return False
    hosts: list[str] = [task["host"] for task in operation["tasks"].values()]
    wanted = {*listed(args.units), *machines}
    apps = listed(args.apps)
    if not wanted and not apps:
        return True
    return any(host in wanted or host.partition("/")[0] in apps for host in hosts)
