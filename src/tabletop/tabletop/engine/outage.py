"""Faults on purpose: machines whose plug is pulled, networks that are cut."""

import time
from typing import Any

from tabletop.engine.model import Model, NotFoundError
from tabletop.errors import TabletopError
from tabletop.partition import Cut


def machine_of(model: Model, target: str) -> Any:
    """Return the row of a machine, given by its number or by a unit on it.

    Raises:
        NotFoundError: there is none.
    """
    row = model.store.one("SELECT * FROM machine WHERE number = ? AND life = 'alive'", model.machine_number(target))
    if row is None:
        raise NotFoundError(f"machine {target} not found{known_machines(model)}")
    return row


def known_machines(model: Model) -> str:
    """Return the end of a sentence that says which machines there are."""
    rows = model.store.all("SELECT number FROM machine WHERE life = 'alive' ORDER BY number")
    numbers = ", ".join(str(row["number"]) for row in rows)
    return f"; this model has {numbers}" if numbers else "; this model has no machines"


def kill_machine(model: Model, target: str, seconds: float | None, *, stay: bool) -> str:
    """Pull a machine's plug; it comes back at once, after so many seconds or, to `stay` down, when it is started.

    Returns:
        The machine's number.

    Raises:
        TabletopError: it has never run.
    """
    row = machine_of(model, target)
    if not row["address"]:
        raise TabletopError(f"machine {row['number']} has not started yet: wait until it has")
    off = stay or seconds is not None
    message = "its plug was pulled" + ("" if seconds is None else f", for {seconds:g} s")
    with model.store.write():
        model.store.execute(
            "UPDATE machine SET state = ?, message = ?, since = ?, off_until = ? WHERE number = ?",
            "off" if off else "down",
            message,
            time.time(),
            None if seconds is None else time.time() + seconds,
            row["number"],
        )
    model.log.add(f"machine-{row['number']}", "WARNING", "tabletop.machine", message)
    model.machines.kill(row["name"])
    return str(row["number"])


def start_machine(model: Model, target: str) -> str:
    """Start a machine that `kill_machine` left off; return its number.

    Raises:
        TabletopError: it isn't off.
    """
    row = machine_of(model, target)
    if row["state"] != "off":
        raise TabletopError(f"machine {row['number']} is not off: only what kill-machine left off can be started")
    with model.store.write():
        model.store.execute(
            "UPDATE machine SET state = 'down', message = '', off_until = NULL WHERE number = ?", row["number"]
        )
    return str(row["number"])


def cut_network(model: Model, target: str, other: str | None, seconds: float | None, *, outside: bool) -> str:
    """Cut a machine off; return what was done as a phrase.

    Raises:
        TabletopError: both ends are one machine, or one has never run.
    """
    row, beyond = machine_of(model, target), None if other is None else machine_of(model, other)
    if beyond is not None and beyond["number"] == row["number"]:
        raise TabletopError(f"{target} and {other} are on the same machine, {row['number']}: nothing lies between them")
    for one in (row, beyond):
        if one is not None and not one["address"]:
            raise TabletopError(f"machine {one['number']} has no network yet: wait until it has started")
    model.machines.cut(row["name"], other=beyond["name"] if beyond else None, outside=outside, seconds=seconds)
    done = f"machine {row['number']}: cut off from {_whom(beyond and beyond['number'], outside=outside)}"
    model.log.add(f"machine-{row['number']}", "WARNING", "tabletop.network", done)
    return done


def heal_network(model: Model, target: str | None, other: str | None, *, outside: bool) -> int:
    """Undo cuts: of a machine, between two, or all of the model's; return how many there were."""
    if target is not None:
        row, beyond = machine_of(model, target), None if other is None else machine_of(model, other)
        return model.machines.heal(row["name"], other=beyond["name"] if beyond else None, outside=outside)
    rows = model.store.all("SELECT name FROM machine WHERE address != '' ORDER BY number")
    return sum(model.machines.heal(row["name"]) for row in rows)


def describe_cuts(model: Model) -> dict[str, str]:
    """Return for each machine (by its container's name) that is cut off a phrase that says from whom.

    Where the kernel can't be asked, each machine has a phrase that says so.
    """
    numbers = {row["name"]: row["number"] for row in model.store.all("SELECT name, number FROM machine")}
    try:
        cuts = model.machines.cuts()
    except TabletopError as error:
        # The rest of the status can be told all the same.
        return dict.fromkeys(numbers, f"whether its network is cut off can't be told: {error}")
    found: dict[str, list[str]] = {}
    for cut in cuts:
        for name, beyond in ((cut.link, cut.other), (cut.other, cut.link)):
            if name in numbers:
                found.setdefault(name, []).append(_phrase(cut, numbers.get(beyond) if cut.other else None))
    return {name: "network cut off from " + ", ".join(sorted(phrases)) for name, phrases in found.items()}


def _phrase(cut: Cut, beyond: int | None) -> str:
    return _whom(beyond, outside=cut.outside) + ("" if cut.left is None else f" (heals in {cut.left} s)")


def _whom(number: int | None, *, outside: bool) -> str:
    if number is not None:
        return f"machine {number}"
    return "the outside world" if outside else "everything"
