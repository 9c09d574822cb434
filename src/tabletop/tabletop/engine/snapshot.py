"""Reads from a model what there is to tell a unit."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tabletop.engine import leadership, relations, secretevents, subordinates
from tabletop.engine.durations import parse_duration
from tabletop.engine.lifecycle import Event, Local, Remote, RemoteRelation
from tabletop.engine.model import Model
from tabletop.errors import TabletopError

DEFAULT_MODEL_CONFIG: Mapping[str, Any] = {"update-status-hook-interval": "5m", "logging-config": "<root>=DEBUG"}


def model_config(model: Model) -> dict[str, Any]:
    """Return the model's configuration with its defaults."""
    return {**DEFAULT_MODEL_CONFIG, **json.loads(model.store.value("SELECT config FROM model"))}


def update_status_interval(model: Model) -> float:
    """Return the seconds between two update-status events."""
    return parse_duration(str(model_config(model)["update-status-hook-interval"]))


def local_state(unit: Any) -> Local:
    """Return what a unit (its row) has been told."""
    return Local.from_dict(json.loads(unit["local"]))


def remote_state(model: Model, unit: Any) -> Remote:
    """Return what there is to tell a unit (its row)."""
    store = model.store
    application = model.application(unit["application"])
    boots: int = store.value("SELECT boots FROM machine WHERE number = ?", unit["machine"])
    storage = tuple(
        row["id"]
        for row in store.all("SELECT id FROM storage WHERE unit = ? AND life = 'alive' ORDER BY rowid", unit["name"])
    )
    due = unit["update_status"] + update_status_interval(model) <= time.time()
    return Remote(
        unit=unit["name"],
        dying=unit["life"] != "alive",
        leader=model.leader(unit["application"]) == unit["name"],
        leader_settings=leadership.version(model, application["name"]),
        charm=application["charm_version"],
        config=config_mark(model, application),
        boot=boots,
        storage=storage,
        relations=relations_of(model, unit),
        secret_events=secretevents.pending_events(model, unit),
        update_status_due=due,
    )


def config_mark(model: Model, application: Any) -> int:
    """Return a number that stands for what config-changed tells of an application (its row).

    It is made of the values, as in Juju: an option that has been set and set back is no news.
    """
    values = json.dumps([model.config(application["name"]), application["trust"]], sort_keys=True)
    return int.from_bytes(hashlib.sha256(values.encode()).digest()[:6])


def renewed(model: Model, unit: Any, event: Event) -> Event:
    """Return an event of a unit (its row) with what its hook, if it runs now, tells: of an event that waited, more."""
    application = model.application(unit["application"])
    match event.kind:
        case "config-changed":
            return replace(event, version=config_mark(model, application))
        case "install" | "upgrade-charm":
            return replace(event, version=application["charm_version"])
        case "start":
            boots: int = model.store.value("SELECT boots FROM machine WHERE number = ?", unit["machine"])
            return replace(event, version=boots)
        case _:
            return event


def relations_of(model: Model, unit: Any) -> dict[int, RemoteRelation]:
    """Return a unit's relations, with their members as the unit is to see them."""
    rows = model.store.all(
        "SELECT mine.relation, mine.name, relation.life, relation.scope, mine.role, other.application AS remote,"
        " EXISTS (SELECT 1 FROM scope WHERE scope.relation = mine.relation AND scope.unit = ?) AS entered"
        " FROM endpoint AS mine JOIN relation ON relation.id = mine.relation"
        " LEFT JOIN endpoint AS other ON other.relation = mine.relation AND other.application != mine.application"
        " WHERE mine.application = ?",
        unit["name"],
        unit["application"],
    )
    found: dict[int, RemoteRelation] = {}
    for row in rows:
        if not subordinates.is_in(model, unit, row["relation"]):
            continue
        remote_app = row["remote"] or unit["application"]
        versions = model.store.all(
            "SELECT scope.unit, databag.version FROM scope JOIN unit ON unit.name = scope.unit"
            " JOIN databag ON databag.relation = scope.relation AND databag.entity = scope.unit"
            " WHERE scope.relation = ? AND NOT scope.departing AND unit.application = ? AND unit.name != ?"
            " AND (? = 'global' OR coalesce(unit.principal, unit.name) = ?)",
            row["relation"],
            remote_app,
            unit["name"],
            row["scope"],
            subordinates.group(unit),
        )
        found[row["relation"]] = RemoteRelation(
            endpoint=row["name"],
            remote_app=remote_app,
            dying=row["life"] != "alive",
            peer=row["role"] == "peer",
            entered=bool(row["entered"]),
            members={one["unit"]: one["version"] for one in versions},
            app_version=relations.databag_version(model, row["relation"], remote_app),
        )
    return found


def set_model_config(model: Model, values: Mapping[str, Any], reset: Sequence[str]) -> dict[str, Any]:
    """Change the model's configuration; return what is set in it.

    Raises:
        TabletopError: a key is unknown, or a duration is none, or 0.
    """
    with model.store.write():
        given: dict[str, Any] = json.loads(model.store.value("SELECT config FROM model"))
        for key in (*values, *reset):
            if key not in DEFAULT_MODEL_CONFIG:
                raise TabletopError(f'key "{key}" not known: a model here has {", ".join(DEFAULT_MODEL_CONFIG)}')
        if "update-status-hook-interval" in values:
            _check_interval(str(values["update-status-hook-interval"]))
        given = {**{key: value for key, value in given.items() if key not in reset}, **values}
        model.store.execute("UPDATE model SET config = ?", json.dumps(given))
    return given


def _check_interval(text: str) -> None:
    """Refuse an interval of update-status that is none.

    Juju's documentation has a range of 1m to 60m, but its code lets anything pass that is a duration (environs/config
    annotates an error that isn't there), and charms' tests live on that with 10s. Nothing would leave agents no rest.
    """
    if parse_duration(text) <= 0:
        raise TabletopError(f"update status hook frequency {text} cannot be 0: hooks would follow each other for ever")
