"""Actions: run them on units, follow their log, show their results."""

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from tabletop.client import NOT_FOUND, RemoteError
from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_model, duration
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, to_yaml
from tabletop.session import Session
from tabletop.yamlfile import YamlFile

_ENDED = ("completed", "failed", "error", "cancelled", "aborted")


class Run(Command):
    """`run`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("words", nargs="+", metavar="UNIT... ACTION [KEY[.KEY...]=VALUE...]")
        parser.add_argument(
            "--wait", type=duration, metavar="DURATION", help="how long to wait (default: till it ends)"
        )
        parser.add_argument("--params", type=Path, metavar="FILE", help="YAML file of parameters")
        parser.add_argument("--string-args", action="store_true", help="take values as text, not as YAML")
        parser.add_argument("--background", action="store_true", help="don't wait; print the tasks' numbers")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        add_format(parser, "plain", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Queue the action on each unit, wait, and print what came of it; exit status 1 if a task failed."""
        model = session.model(args.model)
        units, action, words = _split(args.words)
        params = YamlFile.load(args.params).data if args.params else {}
        for word in words:
            _set_param(params, word, as_text=args.string_args)
        try:
            queued = session.call("run_action", model=model, units=units, action=action, params=params)
        except RemoteError as error:
            # jubilant, as any client of Juju, tells a unit or an action that isn't there by these words.
            raise TabletopError(f"{error} (not found)" if error.kind == NOT_FOUND else str(error)) from error
        tasks: dict[str, Any] = queued["tasks"]
        listed = "\n".join(f"  - task {task} on unit-{unit.replace('/', '-')}" for unit, task in tasks.items())
        note(f"Running operation with {_count(len(tasks), 'task')}\n{listed}\n")
        if args.background:
            for unit, task in tasks.items():
                note(f"'tabletop show-task {task}' shows how {unit} gets on")
            return 0
        deadline = None if args.wait is None else time.monotonic() + args.wait
        results = {unit: _wait(session, model, unit, str(task), deadline) for unit, task in tasks.items()}
        if args.format == "plain":
            _print_plain(results)
        else:
            result(results, args.format)
        return failures(results.values())


class ShowTask(Command):
    """`show-task`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("task")
        parser.add_argument("--wait", type=duration, metavar="DURATION", help="wait till it ends, at most so long")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it."""
        model = session.model(args.model)
        if args.wait:
            task = _wait(session, model, args.task, args.task, time.monotonic() + args.wait)
        else:
            task = _as_juju(session.call("task", model=model, id=args.task), args.task)
        result(task, args.format)


class Actions(Command):
    """`actions`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("--schema", action="store_true", help="their parameters too")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List the application's actions with their descriptions."""
        from tabletop.format import table

        found: dict[str, Any] = session.call("actions", model=session.model(args.model), app=args.application)
        if args.format == "tabular" and not args.schema:
            for line in table(
                ("Action", "Description"), [(name, _first(body)) for name, body in sorted(found.items())]
            ):
                out(line)
            return
        value = found if args.schema else {name: _first(body) for name, body in sorted(found.items())}
        result(value, "json" if args.format == "json" else "yaml")


def failures(tasks: Iterable[Mapping[str, Any]]) -> int:
    """Name the tasks that failed on standard error, as Juju does; return the exit status."""
    failed = [task for task in tasks if task.get("status") != "completed" or return_code(task)]
    if not failed:
        return 0
    lines = [f' - id "{task["id"]}" with return code {return_code(task)}' for task in failed]
    kind = "task" if len(failed) == 1 else "tasks"
    note(f"ERROR the following {kind} failed:\n" + "\n".join(lines))
    note(f"\nuse 'tabletop show-task' to inspect the failure{'s' if len(failed) > 1 else ''}")
    return 1


def return_code(task: Mapping[str, Any]) -> int:
    """Return the return code of a task's process."""
    results = cast("dict[str, Any]", task.get("results") or {})
    return int(results.get("return-code", 0))


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    units = 0
    while units < len(words) and "/" in words[units] and "=" not in words[units]:
        units += 1
    if units == 0:
        raise UsageError(f"no unit specified: expected UNIT... ACTION, got {' '.join(words)!r}")
    if units == len(words):
        raise UsageError("no action specified")
    if len({unit.partition("/")[0] for unit in words[:units]}) > 1:
        raise UsageError("all units must be of the same application")
    return words[:units], words[units], words[units + 1 :]


def _set_param(params: dict[str, Any], word: str, *, as_text: bool) -> None:
    import yaml

    path, equals, text = word.partition("=")
    if not equals or not all(path.split(".")):
        raise UsageError(f"argument {word!r} must be of the form key.key.key...=value")
    try:
        value = text if as_text else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"argument {word!r}: the value isn't YAML; --string-args takes it as it is") from error
    *outer, last = path.split(".")
    for key in outer:
        inner = params.get(key)
        params = cast("dict[str, Any]", inner) if isinstance(inner, dict) else params.setdefault(key, {})
    params[last] = value


def _wait(session: Session, model: str, unit: str, task: str, deadline: float | None) -> dict[str, Any]:
    note(f"Waiting for task {task}...")
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
    logged: list[str] = []

    def log(line: str) -> None:
        logged.append(line)
        note(line)

    answer: dict[str, Any] = session.call("wait_task", log, model=model, id=task, timeout=timeout)
    found = _as_juju(answer, unit)
    if found["status"] not in _ENDED:
        raise TabletopError(f"timed out waiting for results from: unit {unit}")
    if "log" not in found and logged:
        found["log"] = logged
    return found


def _as_juju(task: dict[str, Any], unit: str) -> dict[str, Any]:
    """Give a task the keys that `juju run --format json` prints."""
    found = {key: value for key, value in task.items() if value not in (None, "", [])}
    found["id"] = str(task["id"])
    found.setdefault("unit", unit)
    results: dict[str, Any] = dict(found.get("results") or {})
    results.setdefault("return-code", 0)
    found["results"] = results
    return found


def _print_plain(results: Mapping[str, dict[str, Any]]) -> None:
    for unit, task in results.items():
        values = {
            key: value for key, value in task["results"].items() if key not in ("return-code", "stdout", "stderr")
        }
        if len(results) > 1:
            out(f"{unit}:\n  id: {task['id']!r}\n  status: {task['status']}")
        if task.get("status") != "completed":
            out(f"Action id {task['id']} {task['status']}" + (f": {task['message']}" if task.get("message") else ""))
        for stream in ("stdout", "stderr"):
            if task["results"].get(stream):
                out(str(task["results"][stream]).rstrip("\n"))
        if values:
            out(to_yaml(values) + "\n")


def _first(action: Mapping[str, Any]) -> str:
    return str(action.get("description") or "").split("\n")[0]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
