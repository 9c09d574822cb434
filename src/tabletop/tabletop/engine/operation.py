"""What a unit's agent is doing or waits to do: the one place that decides what it does next."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tabletop.engine import lifecycle, secretevents, snapshot, storage, subordinates
from tabletop.engine.lifecycle import Event
from tabletop.engine.model import Model


@dataclass(frozen=True, slots=True)
class Operation:
    """A hook that runs, or one that failed and is to be tried again; kept with the unit."""

    event: Event
    state: Literal["running", "failed"]
    attempts: int = 0
    retry_at: float = 0.0

    def to_json(self) -> str:
        """Return it as the store keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, unit: Any) -> "Operation | None":
        """Return the operation of a unit (its row), if it has one."""
        if unit["op"] is None:
            return None
        fields: dict[str, Any] = json.loads(unit["op"])
        fields["event"] = Event(**fields["event"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next: run a hook or a task, let storage go, bury the unit, or wait (until a time, if given)."""

    what: Literal["hook", "task", "detach", "bury", "wait"]
    event: Event | None = None
    task: int | None = None
    attempts: int = 0
    until: float | None = None


def decide(model: Model, unit: Any) -> Decision:
    """Return what the agent of a unit (its row) does next; inside `read` or `write`."""
    store = model.store
    machine = store.one("SELECT state FROM machine WHERE number = ?", unit["machine"])
    state = machine["state"] if machine else "error"
    local = snapshot.local_state(unit)
    dying = unit["life"] != "alive"
    operation = Operation.of(unit)
    if dying and not local.installed and operation is None and (state != "started" or not local.storage):
        return Decision("bury")
    if state != "started":
        return Decision("bury") if dying and state == "error" else Decision("wait")
    task = _next_task(model, unit, started=local.started, failed=operation is not None)
    if operation is not None:
        if operation.state == "running":
            # Only after the death of the daemon that ran it: it is run again.
            return Decision("hook", event=operation.event, attempts=operation.attempts)
        if task is not None:
            return Decision("task", task=task)
        if operation.retry_at <= time.time():
            return Decision("hook", event=operation.event, attempts=operation.attempts)
        return Decision("wait", until=operation.retry_at)
    if task is not None:
        return Decision("task", task=task)
    if storage.lost_untold(model, unit["name"], local.storage):
        return Decision("detach")
    remote = snapshot.remote_state(model, unit)
    event = lifecycle.detaching_event(local, remote) or lifecycle.next_event(local, remote)
    if event is not None:
        return Decision("hook", event=event)
    if lifecycle.is_dead(local, remote):
        # A principal goes last.
        return Decision("wait") if subordinates.of(model, unit["name"]) else Decision("bury")
    moments = [unit["update_status"] + snapshot.update_status_interval(model), secretevents.next_due(model, unit)]
    return Decision("wait", until=min(moment for moment in moments if moment is not None))


def _next_task(model: Model, unit: Any, *, started: bool, failed: bool) -> int | None:
    """Return the unit's oldest waiting task that may run now: actions once it has started or while a hook fails."""
    kinds = "('action', 'exec')" if started or failed else "('exec')"
    if not unit["charm"]:
        return None
    return model.store.value(
        f"SELECT id FROM task WHERE unit = ? AND status = 'pending' AND kind IN {kinds} ORDER BY id LIMIT 1",  # noqa: S608
        unit["name"],
    )
