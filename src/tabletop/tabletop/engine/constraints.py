"""What the constraints of a machine mean here: `mem` and `cores` are the most it may take, `arch` is as it says."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabletop.engine.model import Model
from tabletop.errors import TabletopError
from tabletop.quotas import Limits

_EFFECTIVE = ("arch", "mem", "cores")
_BYTES: Mapping[str, int] = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_LEAST = 128 << 20
"""With less, a machine's systemd doesn't come up."""
_NAMES: Mapping[str, str] = {"memory": "mem", "cores": "cores"}


def of_new_machine(model: Model, constraints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constraints of a machine: those given, and the model's where none is.

    Raises:
        TabletopError: a value makes no sense.
    """
    defaults: dict[str, Any] = json.loads(model.store.value("SELECT constraints FROM model") or "{}")
    # An empty value takes the model's away.
    merged = {key: value for key, value in {**defaults, **constraints}.items() if value != ""}
    limits(merged)
    return merged


def limits(constraints: Mapping[str, Any]) -> Limits:
    """Return what a machine with these constraints is held to.

    Raises:
        TabletopError: a value makes no sense.
    """
    memory = _memory(str(constraints["mem"])) if constraints.get("mem") else 0
    cores = constraints.get("cores")
    if cores and not str(cores).isdecimal():
        raise TabletopError(f'bad "cores" constraint: expected a number, got "{cores}"')
    # None of memory would end all that the machine runs.
    return Limits(memory or None, int(cores or 0) or None)


def notices(model: Model, constraints: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of constraints that are taken and come to nothing."""
    found = [f"constraint {key} has no effect here" for key in constraints if key not in _EFFECTIVE]
    wanted = [name for name in _NAMES if constraints.get(_NAMES[name])]
    for what in model.machines.unenforceable() if wanted else ():
        if what in wanted:
            found.append(f"constraint {_NAMES[what]} has no effect: this host's control groups can't limit {what}")
    return found


def show(constraints: Mapping[str, Any]) -> str:
    """Write constraints as Juju does: in the order of their names, memory in M."""
    values = dict(constraints)
    if values.get("mem"):
        values["mem"] = f"{_memory(str(values['mem'])) >> 20}M"
    return " ".join(f"{key}={values[key]}" for key in sorted(values) if values[key] not in ("", None))


def _memory(text: str) -> int:
    digits, unit = text.rstrip("iB"), "M"
    if digits[-1:] in _BYTES:
        digits, unit = digits[:-1], digits[-1]
    try:
        size = round(float(digits) * _BYTES[unit])
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise TabletopError(f'bad "mem" constraint: expected a size such as 512M or 2G, got "{text}"')
    if 0 < size < _LEAST:
        raise TabletopError(f'bad "mem" constraint: a machine needs {_LEAST >> 20}M to come up, got "{text}"')
    return size


def hardware(architecture: str, constraints: Mapping[str, Any], host: Sequence[int]) -> str:
    """Describe what a machine has: its limits, or what this host (its cores, its memory in bytes) has."""
    held = limits(constraints)
    cores = min(held.cores or host[0], host[0])
    memory = min(held.memory or host[1], host[1]) >> 20
    return f"arch={architecture} cores={cores} mem={memory}M virt-type=container"
