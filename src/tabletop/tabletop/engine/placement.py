"""Gives units machines: new ones, or those that a placement names."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tabletop.engine import architecture, storage
from tabletop.engine.constraints import of_new_machine
from tabletop.engine.model import Model, NotFoundError
from tabletop.engine.outage import known_machines
from tabletop.errors import TabletopError

_CONTAINERS = ("lxd", "kvm", "lxc")


def add_units(model: Model, application: str, count: int, to: Sequence[str], attach: Sequence[str] = ()) -> list[str]:
    """Add units to an application, the first ones where `to` says; return their names. Inside `write`.

    Detached storage that is named in `attach` goes to the unit, of which there must be but one.

    Raises:
        TabletopError: a placement makes no sense, or its machine isn't there.
    """
    if count < 0:
        raise TabletopError(f"--num-units must be a positive integer, not {count}")
    if len(to) > count:
        raise TabletopError(f"{len(to)} placements for {count} units of {application}")
    row = model.application(application)
    if row["life"] != "alive":
        raise TabletopError(f'application "{application}" is being removed')
    if count and model.charm_of(application).subordinate:
        raise TabletopError(f'cannot add unit to application "{application}": application is a subordinate')
    if attach and count != 1:
        raise TabletopError("--attach-storage cannot be used with -n")
    constraints = json.loads(row["constraints"])
    names: list[str] = []
    for index in range(count):
        machine = _machine(model, to[index] if index < len(to) else "new", constraints)
        names.append(new_unit(model, application, machine, attach=attach))
    return names


def add_machine(model: Model, constraints: Mapping[str, Any]) -> int:
    """Add a machine without a unit; return its number. Inside `write`.

    Raises:
        TabletopError: there are no machines of the architecture that the constraints say.
    """
    wanted = {**of_new_machine(model, constraints), "arch": architecture.of_new_application(model, constraints)}
    number = model.store.next_number("next_machine")
    model.store.execute(
        "INSERT INTO machine (number, name, since, constraints) VALUES (?, ?, ?, ?)",
        number,
        machine_name(model.name, number),
        time.time(),
        json.dumps(wanted),
    )
    return number


def new_unit(
    model: Model, application: str, machine: int, *, principal: str | None = None, attach: Sequence[str] = ()
) -> str:
    """Add a unit on a machine that is there, a subordinate if it has a principal; return its name. Inside `write`."""
    store = model.store
    architecture.check_charm(model.charm_of(application), architecture.of_machine(model, machine))
    number: int = store.value("SELECT next FROM unit_sequence WHERE application = ?", application) or 0
    store.execute(
        "INSERT INTO unit_sequence (application, next) VALUES (?, 1) ON CONFLICT DO UPDATE SET next = next + 1",
        application,
    )
    name = f"{application}/{number}"
    now = time.time()
    ready = store.value("SELECT state FROM machine WHERE number = ?", machine) == "started"
    store.execute(
        "INSERT INTO unit (name, application, number, machine, message, since, agent_since, principal)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        name,
        application,
        number,
        machine,
        "agent initialising" if ready else "waiting for machine",
        now,
        now,
        principal,
    )
    for storage_id in attach:
        storage.attach(model, name, storage_id)
    directives: dict[str, list[int]] = json.loads(model.application(application)["storage"])
    for store in model.charm_of(application).storage.values():
        size, count = directives.get(store.name, (None, store.minimum if store.type == "filesystem" else 0))
        count -= sum(storage_id.rpartition("/")[0] == store.name for storage_id in attach)
        for _ in range(count):
            storage.add(model, model.unit(name), store.name, size)
    return name


def _machine(model: Model, placement: str, constraints: Mapping[str, Any]) -> int:
    kind, colon, where = placement.rpartition(":")
    if where in _CONTAINERS and not colon:
        kind, where = where, ""
    number = int(where) if where.isdecimal() else None
    if kind not in ("", *_CONTAINERS) or (number is None and where not in ("", "new")) or not placement:
        raise TabletopError(
            f'invalid placement "{placement}": expected a machine such as 0, "new", or "lxd:0" for a machine of its own'
        )
    if number is not None and _alive(model, number) is None:
        raise NotFoundError(f"machine {where} not found{known_machines(model)}")
    # Machines are containers already: what asks for one on a machine gets a machine of its own.
    return add_machine(model, constraints) if kind or number is None else number


def _alive(model: Model, number: int) -> Any:
    return model.store.one("SELECT 1 FROM machine WHERE number = ? AND life = 'alive'", number)


def machine_name(model: str, number: int) -> str:
    """Return what the container of a model's machine is called."""
    return f"{model}-{number}"
