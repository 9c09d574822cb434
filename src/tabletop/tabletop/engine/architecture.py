"""Which architecture a machine has, which one an application's machines get, and whether a charm runs on it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabletop.charmfile import CharmFile
from tabletop.emulation import check_architecture
from tabletop.engine.model import Model
from tabletop.errors import TabletopError
from tabletop.version import host_architecture

_KEY = "arch"


def of_machine(model: Model, number: int) -> str:
    """Return dpkg's name of a machine's architecture."""
    return of_constraints(model.store.value("SELECT constraints FROM machine WHERE number = ?", number))


def of_constraints(constraints: str | None) -> str:
    """Return the architecture that the constraints of a machine or of an application say, kept as JSON."""
    return json.loads(constraints or "{}").get(_KEY) or host_architecture()


def of_new_application(model: Model, constraints: Mapping[str, Any], to: Sequence[str] = ()) -> str:
    """Return the architecture of the machines that an application would get.

    It is what its own constraints say, else that of the machines it is placed on, else what the model's constraints
    say, else the host's own.

    Raises:
        TabletopError: the constraint is none that machines can have, or contradicts a placement.
    """
    placed = {of_machine(model, int(place)): place for place in to if place.isdecimal() and _exists(model, place)}
    wanted = constraints.get(_KEY)
    if wanted:
        check_architecture(wanted)
        placed.pop(wanted, None)
        if placed:
            other, machine = next(iter(placed.items()))
            raise TabletopError(f"machine {machine} is {other}, and the constraint says arch={wanted}")
        return wanted
    if len(placed) > 1:
        raise TabletopError(
            f"machines {' and '.join(placed.values())} are {' and '.join(placed)}: "
            "the units of an application have one architecture"
        )
    by_model = model.store.value("SELECT constraints FROM model")
    return next(iter(placed), None) or of_constraints(by_model)


def pinned(model: Model, charm: CharmFile, constraints: Mapping[str, Any], to: Sequence[str]) -> dict[str, Any]:
    """Return an application's constraints with its architecture among them, as Juju keeps them.

    Raises:
        TabletopError: see :func:`of_new_application`; or the charm doesn't run on it.
    """
    architecture = of_new_application(model, constraints, to)
    check_charm(charm, architecture)
    return {**constraints, _KEY: architecture}


def check_charm(charm: CharmFile, architecture: str) -> None:
    """See that a charm runs on an architecture.

    Raises:
        TabletopError: it doesn't.
    """
    if not charm.runs_on(architecture):
        raise TabletopError(
            f'charm "{charm.name}" was packed for {" and ".join(charm.architectures)} and holds machine code, '
            f"so it can't run on {architecture}: pack it with `tabletop pack --arch {architecture}`, "
            "or deploy its folder"
        )


def _exists(model: Model, place: str) -> bool:
    return model.store.one("SELECT 1 FROM machine WHERE number = ?", int(place)) is not None
