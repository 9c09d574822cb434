"""Tasks as Juju's client shows them, and waiting for one."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, cast

from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.session import Session

ENDED = ("completed", "failed", "error", "cancelled", "aborted")


def wait_task(session: Session, model: str, unit: str, task: str, deadline: float | None) -> dict[str, Any]:
    """Wait for a task to end, showing its log as it comes; return it as `juju run --format json` prints it.

    Args:
        session: asks the daemon.
        model: the model's name.
        unit: where it runs.
        task: its number.
        deadline: when to give up, of the monotonic clock; None: never.

    Raises:
        TabletopError: the deadline has passed; the task goes on.
    """
    note(f"Waiting for task {task}...")
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
    logged: list[str] = []

    def log(line: str) -> None:
        logged.append(line)
        note(line)

    answer: dict[str, Any] = session.call("wait_task", log, model=model, id=task, timeout=timeout)
    found = as_juju(answer, unit)
    if found["status"] not in ENDED:
        raise TabletopError(
            f"timed out waiting for results from: unit {found['unit']}\n"
            f"The task goes on: 'tabletop show-task {task} --watch' waits for it; --wait says how long to wait."
        )
    if "log" not in found and logged:
        found["log"] = logged
    return found


def as_juju(task: dict[str, Any], unit: str) -> dict[str, Any]:
    """Give a task the keys that `juju run --format json` prints."""
    found = {key: value for key, value in task.items() if value not in (None, "", [])}
    found["id"] = str(task["id"])
    found.setdefault("unit", unit)
    results: dict[str, Any] = dict(found.get("results") or {})
    results.setdefault("return-code", 0)
    found["results"] = results
    return found


def failures(tasks: Iterable[Mapping[str, Any]]) -> int:
    """Name the tasks whose process failed on standard error; return the exit status.

    Juju's rule (`cmd/juju/action/common.go`): a task that was only said to have failed, by `action-fail`, or that was
    cancelled has no return code above 0, so it doesn't count.
    """
    failed = [task for task in tasks if return_code(task) > 0]
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
