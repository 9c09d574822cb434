"""Subordinate units: each lives on the machine of a principal unit, and comes and goes with it."""

import time
from collections.abc import Sequence
from typing import Any

from tabletop.engine import placement
from tabletop.engine.model import Model
from tabletop.errors import TabletopError


def of(model: Model, unit: str) -> list[str]:
    """Return the subordinates of a unit."""
    rows = model.store.all("SELECT name FROM unit WHERE principal = ? ORDER BY application, number", unit)
    return [row["name"] for row in rows]


def group(unit: Any) -> str:
    """Return the principal of a unit (its row), or the unit itself: in container scope only units of one group meet."""
    return unit["principal"] or unit["name"]


def refuse(model: Model, unit: str) -> None:
    """Refuse to remove a subordinate by itself.

    Raises:
        NotFoundError: there is no such unit.
        TabletopError: the unit is a subordinate.
    """
    row = model.unit(unit)
    if row["principal"] is not None:
        raise TabletopError(
            f'unit "{row["name"]}" is a subordinate, to remove use remove-relation;'
            f' that removes all units of "{row["application"]}" on the application that it is related to'
        )


def is_in(model: Model, unit: Any, relation_id: int) -> bool:
    """Tell whether a unit (its row) can be in a relation of its application.

    In container scope a subordinate is only in relations with its principal's application, or with other subordinates;
    and a principal enters one only once an earlier subordinate of the same application is gone.
    """
    store = model.store
    if store.value("SELECT scope FROM relation WHERE id = ?", relation_id) != "container":
        return True
    if store.one("SELECT 1 FROM scope WHERE relation = ? AND unit = ?", relation_id, unit["name"]) is not None:
        return True
    others = _others(model, unit["application"], relation_id)
    if unit["principal"] is None:
        return not any(
            store.one(
                "SELECT 1 FROM unit WHERE principal = ? AND application = ? AND life != 'alive'", unit["name"], one
            )
            for one in others
        )
    principal = unit["principal"].partition("/")[0]
    return principal in others or all(model.charm_of(one).subordinate for one in others)


def meet(model: Model, relation_id: int, unit: str, other: str) -> bool:
    """Tell whether two units may see each other in a relation: not in container scope, unless they are of one group."""
    store = model.store
    if store.value("SELECT scope FROM relation WHERE id = ?", relation_id) != "container":
        return True
    rows = store.all("SELECT name, principal FROM unit WHERE name IN (?, ?)", unit, other)
    return len({group(row) for row in rows}) == 1


def ensure(model: Model, unit: str) -> list[str]:
    """Make the subordinates that the relations a principal unit has entered ask for; return the new ones.

    Inside `write`.
    """
    row = model.unit(unit)
    if row["principal"] is not None or row["life"] != "alive":
        return []
    entered = model.store.all(
        "SELECT relation.id FROM relation JOIN scope ON scope.relation = relation.id"
        " WHERE scope.unit = ? AND relation.scope = 'container' AND relation.life = 'alive' ORDER BY relation.id",
        unit,
    )
    made: list[str] = []
    for relation in entered:
        for application in _others(model, row["application"], relation["id"]):
            there = model.store.value(
                "SELECT count(*) FROM unit WHERE principal = ? AND application = ?", unit, application
            )
            if model.charm_of(application).subordinate and not there:
                made.append(placement.new_unit(model, application, row["machine"], principal=unit))
    return made


def start_removal(model: Model, unit: str) -> None:
    """Mark a unit and its subordinates as leaving; inside `write`."""
    for name in (unit, *of(model, unit)):
        model.store.execute("UPDATE unit SET life = 'dying', agent_since = ? WHERE name = ?", time.time(), name)
        # The others are told at once; the unit itself leaves when it has been told of the end.
        model.store.execute("UPDATE scope SET departing = 1 WHERE unit = ?", name)


def end_orphans(model: Model, relation_id: int) -> None:
    """Remove the subordinates that a relation in container scope, which is ending, was the last to keep.

    Inside `write`.
    """
    store = model.store
    if store.value("SELECT scope FROM relation WHERE id = ?", relation_id) != "container":
        return
    names = [
        row["application"] for row in store.all("SELECT application FROM endpoint WHERE relation = ?", relation_id)
    ]
    for subordinate in (name for name in names if model.charm_of(name).subordinate):
        for principal in (name for name in names if name != subordinate):
            if not _kept(model, subordinate, principal):
                for unit in _between(model, subordinate, principal):
                    start_removal(model, unit)


def _others(model: Model, application: str, relation_id: int) -> list[str]:
    rows = model.store.all(
        "SELECT application FROM endpoint WHERE relation = ? AND application != ?", relation_id, application
    )
    return [row["application"] for row in rows]


def _kept(model: Model, subordinate: str, principal: str) -> bool:
    return bool(
        model.store.value(
            "SELECT count(*) FROM endpoint AS one JOIN endpoint AS two ON two.relation = one.relation"
            " JOIN relation ON relation.id = one.relation"
            " WHERE one.application = ? AND two.application = ?"
            " AND relation.scope = 'container' AND relation.life = 'alive'",
            subordinate,
            principal,
        )
    )


def _between(model: Model, subordinate: str, principal: str) -> Sequence[str]:
    rows = model.store.all(
        "SELECT unit.name FROM unit JOIN unit AS host ON host.name = unit.principal"
        " WHERE unit.application = ? AND host.application = ? ORDER BY unit.number",
        subordinate,
        principal,
    )
    return [row["name"] for row in rows]
