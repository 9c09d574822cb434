"""The tools about a running action."""

import re
import time
from typing import Any, cast

from tabletop.engine.hooks import TaskState, ToolError
from tabletop.engine.hooktools.call import Call

_KEY = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z")
_RESERVED = ("stdout", "stdout-encoding", "stderr", "stderr-encoding")


def action_get(call: Call) -> str:
    """Return the action's parameters, or one of them by its dotted name."""
    value: Any = dict(_task(call).params)
    key = call.argument(0)
    if key is not None:
        for part in key.split("."):
            value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    return call.render(value)


def action_set(call: Call) -> str:
    """Set results; a dot in a key makes a mapping."""
    changes: list[tuple[list[str], str]] = []
    for argument in call.arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ToolError(f'argument "{argument}" must be of the form key...=value', 2)
        path = key.split(".")
        for part in path:
            _check_key(part)
        changes.append((path, value))
    results = _task(call).results
    for path, value in changes:
        _place(results, path, value)
    return ""


def action_fail(call: Call) -> str:
    """Mark the action as failed, with a reason."""
    task = _task(call)
    task.failed = True
    reason = call.argument(0)
    task.message = "action failed without reason given, check action for errors" if reason is None else reason
    return ""


def action_log(call: Call) -> str:
    """Tell the operator how the action gets on, at once."""
    call.required(0, "no message specified")
    task = _task(call)
    message = " ".join(call.arguments)
    store = call.context.model.store
    with store.write():
        store.execute(
            "INSERT INTO task_log (task, number, time, message)"
            " SELECT ?, coalesce(max(number), 0) + 1, ?, ? FROM task_log WHERE task = ?",
            task.id,
            time.time(),
            message,
            task.id,
        )
    return ""


def _task(call: Call) -> TaskState:
    task = call.context.task
    if task is None or task.kind != "action":
        raise ToolError("not running an action")
    return task


def _check_key(key: str) -> None:
    if not _KEY.match(key):
        raise ToolError(
            f'key "{key}" must start and end with lowercase alphanumeric, '
            "and contain only lowercase alphanumeric, hyphens and periods",
            2,
        )
    if key in _RESERVED:
        raise ToolError(f'cannot set reserved action key "{key}"', 2)


def _place(results: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        inner = results.get(part)
        if not isinstance(inner, dict):
            inner = results[part] = {}
        results = cast("dict[str, Any]", inner)
    results[path[-1]] = value
