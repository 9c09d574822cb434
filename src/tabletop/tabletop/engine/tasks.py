"""Actions and scripts that an operator runs on units: queued, run by its agent, kept with their results."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tabletop.engine import transaction
from tabletop.engine.durations import rfc3339
from tabletop.engine.faults import StateError
from tabletop.engine.hooks import HookContext, TaskState, environment
from tabletop.engine.layout import agent_directory
from tabletop.engine.model import Model, NotFoundError
from tabletop.engine.params import check_params
from tabletop.engine.process import Outcome, run_for
from tabletop.engine.refusals import CommitError
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
ENDED = ("completed", "failed", "aborted", "cancelled")
_TICK = 1.0


def enqueue_action(model: Model, units: Sequence[str], action: str, params: Mapping[str, Any]) -> dict[str, str]:
    """Queue an action on units; return the task's id for each.

    Raises:
        NotFoundError: a unit or the action isn't there.
        TabletopError: a parameter is missing or wrong; nothing is queued then.
    """
    with model.store.write():
        checked: dict[str, dict[str, Any]] = {}
        for row in [model.unit(unit) for unit in units]:
            known = model.charm_of(row["application"]).actions
            if action not in known:
                raise NotFoundError(f'action "{action}" not defined on unit "{row["name"]}"')
            checked[row["name"]] = check_params(known[action], params)
        queued: dict[str, str] = {}
        first: int | None = None
        for name, values in checked.items():
            task_id = _enqueue(model, "action", name, action, values, first)
            first = first or task_id
            queued[name] = str(task_id)
        return queued


def enqueue_exec(model: Model, unit: str, argv: Sequence[str], timeout: float | None) -> int:
    """Queue a program on a unit, to run in a hook's context; return the task's id."""
    with model.store.write():
        row = model.unit(unit)
        return _enqueue(model, "exec", row["name"], "juju-exec", {"argv": list(argv), "timeout": timeout})


def show(model: Model, task_id: int, log_offset: int = 0) -> dict[str, Any]:
    """Return how a task gets on, with its log from a line on.

    Raises:
        NotFoundError: there is no such task.
    """
    with model.store.read():
        row = model.store.one("SELECT * FROM task WHERE id = ?", task_id)
        if row is None:
            raise NotFoundError(f'task "{task_id}" not found')
        log = model.store.all(
            "SELECT time, message FROM task_log WHERE task = ? ORDER BY number LIMIT -1 OFFSET ?", task_id, log_offset
        )
    timing = {name: rfc3339(row[name]) for name in ("enqueued", "started", "completed") if row[name] is not None}
    return {
        "id": str(row["id"]),
        "operation": str(row["operation"]),
        "unit": row["unit"],
        "action": row["name"],
        "status": row["status"],
        "message": row["message"],
        "results": json.loads(row["results"]),
        "log": [f"{rfc3339(line['time'])} {line['message']}" for line in log],
        "timing": timing,
    }


def wait(
    model: Model, task_id: int, timeout: float | None, progress: Callable[[str], None], alive: Callable[[], bool]
) -> dict[str, Any]:
    """Wait until a task has ended, telling its log line by line; on a timeout, return it as it is.

    `alive` says whether anybody still waits for the answer.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    told = 0
    while True:
        generation = model.store.generation
        task = show(model, task_id)
        for line in task["log"][told:]:
            progress(line)
        told = len(task["log"])
        left = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
        if task["status"] in ENDED or left <= 0 or not alive():
            return task
        model.store.wait_for_change(generation, left)


def run_task(model: Model, unit: str, task_id: int) -> None:
    """Run a queued task on its unit; the unit's agent calls this."""
    store = model.store
    with store.write():
        row = store.one("SELECT * FROM task WHERE id = ? AND status = 'pending'", task_id)
        if row is None:
            return
        store.execute("UPDATE task SET status = 'running', started = ? WHERE id = ?", time.time(), task_id)
        unit_row = model.unit(unit)
        machine: str = store.value("SELECT name FROM machine WHERE number = ?", unit_row["machine"])
    task = TaskState(task_id, row["kind"], row["name"], json.loads(row["params"]))
    context = HookContext(model, unit_row, None, task)
    model.log.add(unit, "DEBUG", "juju.worker.uniter.runner", f"starting {task.kind} {task.name} (task {task_id})")
    started = time.monotonic()
    outcome = _run(context, machine)
    took = time.monotonic() - started
    model.log.add(
        unit, "DEBUG", "juju.worker.uniter.runner", f"{task.kind} {task.name} (task {task_id}) took {took:.3f} s"
    )
    while True:
        try:
            with context.lock, store.write():
                refused = _commit(context) if outcome.code == 0 else ""
                if context.reboot == "now":
                    transaction.reboot(model, context.machine)
                _finish(model, task, outcome, refused)
        except StateError as error:
            # A task is not run twice, so its end is kept until it can be written.
            logger.warning("the end of task %d can't be written yet: %s", task_id, error)
            time.sleep(_TICK)
        else:
            return


def abort_running(model: Model, reason: str) -> None:
    """Mark tasks that were running as aborted; inside `write`."""
    model.store.execute(
        "UPDATE task SET status = 'aborted', message = ?, completed = ? WHERE status IN ('running', 'aborting')",
        reason,
        time.time(),
    )


def abort_tasks_of(model: Model, unit: str) -> None:
    """Mark the tasks of a unit that goes as aborted; inside `write`."""
    model.store.execute(
        "UPDATE task SET status = 'aborted', message = ?, completed = ?"
        " WHERE unit = ? AND status IN ('pending', 'running', 'aborting')",
        f"the unit {unit} has been removed",
        time.time(),
        unit,
    )


def _enqueue(
    model: Model, kind: str, unit: str, name: str, params: Mapping[str, Any], operation: int | None = None
) -> int:
    task_id = model.store.next_number("next_task")
    model.store.execute(
        "INSERT INTO task (id, operation, kind, unit, name, params, enqueued) VALUES (?, ?, ?, ?, ?, ?, ?)",
        task_id,
        task_id if operation is None else operation,
        kind,
        unit,
        name,
        json.dumps(params),
        time.time(),
    )
    return task_id


def _run(context: HookContext, machine: str) -> Outcome:
    model, task = context.model, context.task
    assert task is not None  # noqa: S101 - made with one
    env = environment(context)
    if task.kind == "exec":
        argv, timeout = task.params["argv"], task.params["timeout"]
    else:
        charm = agent_directory(model, context.machine, context.unit) / "charm"
        program = "dispatch" if (charm / "dispatch").exists() else f"actions/{task.name}"
        argv, timeout = [f"{env['CHARM_DIR']}/{program}"], None

    try:
        return run_for(context, machine, argv, env, timeout=timeout)
    except (TabletopError, OSError) as error:
        return Outcome(-1, "", str(error))


def _commit(context: HookContext) -> str:
    """Commit what a task did; return why that is refused, or nothing."""
    try:
        transaction.commit(context)
    except CommitError as error:
        context.model.log.add(context.unit, "ERROR", "juju.worker.uniter.context", f"cannot apply changes: {error}")
        return str(error)
    return ""


def _finish(model: Model, task: TaskState, outcome: Outcome, refused: str) -> None:
    results: dict[str, Any] = {**task.results, "return-code": outcome.code}
    results.update({name: getattr(outcome, name) for name in ("stdout", "stderr") if getattr(outcome, name)})
    status, message = "completed", ""
    if refused:
        if task.kind == "action":
            status, message = "failed", "committing requested changes failed"
        results |= {"stderr": "\n".join(filter(None, (outcome.stderr, refused))), "return-code": 1}
    if outcome.timed_out:
        status, message = "failed", "it took too long and was killed"
    elif task.kind == "action" and outcome.code != 0:
        status = "failed"
        message = f"exit status {outcome.code}" if outcome.code > 0 else f"killed by signal {-outcome.code}"
    if task.failed:
        status, message = "failed", task.message
    aborting = model.store.value("SELECT status FROM task WHERE id = ?", task.id) == "aborting"
    if aborting and outcome.code != 0:
        status, message = "aborted", "it was cancelled"
    model.store.execute(
        "UPDATE task SET status = ?, message = ?, results = ?, completed = ?"
        " WHERE id = ? AND status IN ('running', 'aborting')",
        status,
        message,
        json.dumps(results),
        time.time(),
        task.id,
    )
