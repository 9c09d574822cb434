"""The tools about a running action."""

import re
import time
from typing import Any, cast

from tabletop.engine.hooks import TaskState, ToolError
from tabletop.engine.hooktools.call import Call

_KEY = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z")
_RESERVED = ("stdout", "stdout-encoding", "stderr", "stderr-encoding", "return-code")


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
    task = _task(call)
    for key, value in call.pairs(call.arguments).items():
        first = key.partition(".")[0]
        if first in _RESERVED:
            raise ToolError(f'cannot set reserved action key "{first}"', 2)
        if not _KEY.match(key):
            raise ToolError(
                f'key "{key}" must start and end with lowercase alphanumeric, '
                "and contain only lowercase alphanumeric, hyphens and periods",
                2,
            )
        _place(task.results, key.split("."), value)
    return ""


def action_fail(call: Call) -> str:
    """Mark the action as failed, with a reason."""
    task = _task(call)
    task.failed = True
    task.message = call.argument(0) or "action failed without reason given, check action for errors"
    return ""


def action_log(call: Call) -> str:
    """Tell the operator how the action gets on, at once."""
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


def _place(results: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        inner = results.get(part)
        if not isinstance(inner, dict):
            inner = results[part] = {}
        results = cast("dict[str, Any]", inner)
    results[path[-1]] = value
