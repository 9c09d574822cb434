"""The tool that tells what the model is to become."""

from datetime import UTC, datetime
from typing import Any

from tabletop.engine import snapshot
from tabletop.engine.hooktools.call import Call
from tabletop.engine.model import Model


def goal_state(call: Call) -> str:
    """Return the units that the application, and those related to it, are to have."""
    context = call.context
    model = context.model
    with model.store.read():
        found: dict[str, dict[str, Any]] = {}
        for key, relation in snapshot.relations_of(model, model.unit(context.unit)).items():
            if relation.remote_app == context.application:
                continue
            goals = found.setdefault(relation.endpoint, {})
            since: float = model.store.value("SELECT since FROM relation WHERE id = ?", key)
            entered = model.store.value("SELECT count(*) FROM scope WHERE relation = ?", key)
            goals[relation.remote_app] = {"status": "joined" if entered else "joining", "since": _time(since)}
            goals.update(_units(model, relation.remote_app, context.unit))
        return call.render({"units": _units(model, context.application, context.unit), "relations": found})


def _units(model: Model, application: str, viewer: str) -> dict[str, Any]:
    """Return an application's units; of subordinates those of the unit that looks, as Juju does."""
    rows = model.store.all(
        "SELECT name, status, life, since FROM unit WHERE application = ? AND coalesce(principal, ?) = ?",
        application,
        viewer,
        viewer,
    )
    return {
        row["name"]: {
            "status": "dying" if row["life"] != "alive" else row["status"],
            "since": _time(row["since"]),
        }
        for row in rows
    }


def _time(seconds: float) -> str:
    """Return a time as this tool alone writes it, with a space in it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
