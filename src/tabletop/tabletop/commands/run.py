"""Running actions on units, following their log, showing their results."""

import argparse
import time
from collections.abc import Mapping
from typing import Any, cast

from tabletop.client import RemoteError
from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_model, duration, read_yaml
from tabletop.commands.tasks import failures, wait_task
from tabletop.format import counted, note, out, result, to_yaml
from tabletop.session import Session

DEFAULT_WAIT_S = 60.0


class Run(Command):
    """`run`."""

    notes = """\
Like Juju's client it waits for 60 s unless --wait says otherwise; the task goes on after that. A unit or an action
that isn't there, and a parameter that the action's schema refuses, are told on standard error, and nothing is run:
"failed to schedule any tasks", with exit status 0, as Juju does. Where one of several units isn't there, none runs.
The exit status is 1 if a task's process failed; it is 0 for a task that the charm itself failed (action-fail), whose
status says so."""
    examples = (
        "run store/0 smoke-test",
        "run store/leader smoke-test lines=3 deep.key=[1,2] --wait 10m",
        "run store/0 store/1 smoke-test --format json",
        "run store/0 smoke-test --params params.yaml --background",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("words", nargs="+", metavar="UNIT... ACTION [KEY[.KEY...]=VALUE...]")
        parser.add_argument("--wait", type=duration, metavar="DURATION", help="how long to wait (default 60s)")
        parser.add_argument("--params", metavar="FILE", help="YAML file of parameters; - is standard input")
        parser.add_argument("--string-args", action="store_true", help="take values as text, not as YAML")
        parser.add_argument("--background", action="store_true", help="don't wait; print the tasks' numbers")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        parser.add_argument("--color", "--no-color", action="store_true", help="accepted: there are no colours")
        add_format(parser, "plain", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Queue the action on each unit, wait, and print what came of it."""
        if args.background and args.wait is not None:
            raise UsageError("cannot specify both --wait and --background")
        model = session.model(args.model)
        units, action, words = _split(args.words)
        params = dict(read_yaml(args.params)) if args.params else {}
        for word in words:
            _set_param(params, word, as_text=args.string_args)
        try:
            queued = session.call("run_action", model=model, units=units, action=action, params=params)
        except RemoteError as error:
            # Juju counts this as an operation without tasks, not as a failure; its clients rely on that.
            note(f"Operation failed to schedule any tasks:\n{error}")
            return 0
        tasks: dict[str, Any] = queued["tasks"]
        operation = min((str(task) for task in tasks.values()), key=int)
        if args.background:
            note(f"Scheduled operation {operation} with {counted(len(tasks), 'task')}")
            for unit, task in tasks.items():
                note(f"'tabletop show-task {task}' shows how {unit} gets on")
            return 0
        listed = "\n".join(f"  - task {task} on unit-{unit.replace('/', '-')}" for unit, task in tasks.items())
        note(f"Running operation {operation} with {counted(len(tasks), 'task')}\n{listed}\n")
        deadline = time.monotonic() + (DEFAULT_WAIT_S if args.wait is None else args.wait)
        results = {unit: wait_task(session, model, unit, str(task), deadline) for unit, task in tasks.items()}
        if args.format == "plain":
            _print_plain(results)
        else:
            result(results, args.format)
        return failures(results.values())


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
