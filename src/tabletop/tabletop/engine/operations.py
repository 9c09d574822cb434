"""Operations: what one command queued, a task for each unit; and cancelling tasks."""

import json
import time
from collections.abc import Collection
from typing import Any

from tabletop.engine import tasks
from tabletop.engine.model import Model, NotFoundError

_WORST_FIRST = ("error", "failed", "running", "aborting", "pending", "aborted", "cancelled", "completed")
CANCELLED = "it was cancelled before it ran"


def every(model: Model) -> dict[str, Any]:
    """Return all operations by their id, oldest first, as `show` does."""
    with model.store.read():
        rows = model.store.all("SELECT DISTINCT operation FROM task ORDER BY operation")
        return {str(row["operation"]): show(model, row["operation"]) for row in rows}


def show(model: Model, operation: int) -> dict[str, Any]:
    """Return an operation with its tasks, in the shape of `juju show-operation`.

    Raises:
        NotFoundError: there is no such operation.
    """
    with model.store.read():
        rows = model.store.all("SELECT id, kind, name, params FROM task WHERE operation = ? ORDER BY id", operation)
        if not rows:
            raise NotFoundError(f'operation "{operation}" not found')
        shown = {str(row["id"]): tasks.show(model, row["id"]) for row in rows}
    first = rows[0]
    params: dict[str, Any] = json.loads(first["params"])
    what = first["name"] if first["kind"] == "action" else "commands"
    found: dict[str, Any] = {
        "summary": f"{what} run on {','.join(task['unit'] for task in shown.values())}",
        "status": _status({task["status"] for task in shown.values()}),
        "action": {"name": first["name"], "parameters": params if first["kind"] == "action" else {}},
        "timing": _timing([task["timing"] for task in shown.values()]),
        "tasks": {},
    }
    for task_id, task in shown.items():
        body = {"host": task["unit"], **{key: task[key] for key in ("status", "timing", "log", "message", "results")}}
        found["tasks"][task_id] = {key: value for key, value in body.items() if value not in ("", [], {})}
    return found


def cancel(model: Model, task_id: int) -> dict[str, Any]:
    """Cancel a task: one that waits never runs, the program of one that runs is killed; return how it is then.

    Raises:
        NotFoundError: there is no such task.
    """
    with model.store.write():
        task = tasks.show(model, task_id)
        if task["status"] == "pending":
            model.store.execute(
                "UPDATE task SET status = 'cancelled', message = ?, completed = ? WHERE id = ?",
                CANCELLED,
                time.time(),
                task_id,
            )
        elif task["status"] == "running":
            model.store.execute("UPDATE task SET status = 'aborting' WHERE id = ?", task_id)
    for context in list(model.contexts.values()):
        if context.task is not None and context.task.id == task_id:
            context.cancel()
    return tasks.show(model, task_id)


def _status(statuses: Collection[str]) -> str:
    return min(statuses, key=_WORST_FIRST.index)


def _timing(timings: list[dict[str, str]]) -> dict[str, str]:
    found = {"enqueued": min(timing["enqueued"] for timing in timings)}
    started = [timing["started"] for timing in timings if "started" in timing]
    completed = [timing["completed"] for timing in timings if "completed" in timing]
    if started:
        found["started"] = min(started)
    if len(completed) == len(timings):
        found["completed"] = max(completed)
    return found
