"""The tools about the status of the unit and of its application."""

import time
from collections.abc import Mapping
from typing import Any

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

STATUSES = ("maintenance", "blocked", "waiting", "active")
_NOT_LEADER = "this unit is not the leader"


def status_set(call: Call) -> str:
    """Set the status of the unit, or of its application; at once, whatever becomes of the hook."""
    context = call.context
    status = call.required(0, "invalid args, require <status> [message]")
    message = call.argument(1) or ""
    if status not in STATUSES:
        raise ToolError(f'invalid status "{status}", expected one of [{" ".join(STATUSES)}]', 2)
    store = context.model.store
    with store.write(wake=False):
        if call.flag("application"):
            if not context.is_leader:
                raise ToolError(_NOT_LEADER)
            table, name = "application", context.application
        else:
            table, name = "unit", context.unit
        store.execute(
            f"UPDATE {table} SET since = CASE WHEN status IS ? AND message = ? THEN since ELSE ? END,"  # noqa: S608
            " status = ?, message = ? WHERE name = ?",
            status,
            message,
            time.time(),
            status,
            message,
            name,
        )
    return ""


def status_get(call: Call) -> str:
    """Return the status of the unit, or of its application with that of each unit."""
    context = call.context
    store = context.model.store
    full = call.flag("include-data")
    plain = call.form == "smart" and not full
    if not call.flag("application"):
        row = store.one("SELECT status, message FROM unit WHERE name = ?", context.unit)
        return call.render(_word(row) if plain else _details(row, full=full))
    if not context.is_leader:
        raise ToolError(f"finding application status: {_NOT_LEADER}")
    row = store.one("SELECT status, message FROM application WHERE name = ?", context.application)
    if plain:
        return call.render(_word(row))
    units = store.all("SELECT name, status, message FROM unit WHERE application = ?", context.application)
    # Juju nests the units in the application's status; ops looks for them beside it, and finds none.
    whole = {**_details(row, full=full), "units": {unit["name"]: _details(unit, full=full) for unit in units}}
    return call.render({"application-status": whole})


def _word(row: Any) -> str:
    return (row and row["status"]) or "unknown"


def _details(row: Any, *, full: bool) -> Mapping[str, Any]:
    found: dict[str, Any] = {"status": _word(row)}
    return {**found, "message": row["message"] if row else "", "status-data": {}} if full else found
