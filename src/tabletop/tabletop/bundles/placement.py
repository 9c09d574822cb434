"""Where a bundle wants its units."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal

_PLACEMENT = re.compile(r"(?:(?P<container>lxd|kvm|lxc)(?::|$))?(?P<target>[^:]*)")
_UNIT = re.compile(r"(?P<app>[a-z][a-z0-9-]*?)(?:/(?P<number>\d+))?")


@dataclass(frozen=True, slots=True)
class Placement:
    """One unit's place.

    A container on another machine has a file system and an address of its own in Juju; here that is a new machine.
    """

    kind: Literal["new", "machine", "unit"]
    target: str = ""
    """The bundle's own number of a machine, or `app/number`, or `app` for the unit with the same number."""
    container: bool = False


def parse(text: object, *, machines: Container[str], units: Mapping[str, int]) -> Placement:
    """Read one entry of an application's `to`.

    Args:
        text: such as `0`, `new`, `lxd:0`, `app/1`, `app`.
        machines: the machines that the bundle declares.
        units: the number of units of each application of the bundle.

    Raises:
        ValueError: it makes no sense; the text says why.
    """
    match = _PLACEMENT.fullmatch(str(text))
    if match is None:
        raise ValueError(f"bad placement {text!r}: expected a machine of the bundle, new, app/0 or lxd:...")
    container, target = match["container"] is not None, match["target"]
    if target.isdigit():
        if target not in machines:
            raise ValueError(f"bad placement {text!r}: machine {target} isn't among the bundle's machines")
        return Placement("new", container=True) if container else Placement("machine", target)
    if target == "new" or (container and not target):
        return Placement("new", container=container)
    unit = _UNIT.fullmatch(target)
    if unit is None:
        raise ValueError(f"bad placement {text!r}: expected a machine of the bundle, new, app/0 or lxd:...")
    if unit["app"] not in units:
        raise ValueError(f"bad placement {text!r}: {unit['app']!r} isn't an application of the bundle")
    if unit["number"] and int(unit["number"]) >= units[unit["app"]]:
        raise ValueError(f"bad placement {text!r}: {unit['app']!r} has only {units[unit['app']]} units")
    return Placement("new", container=True) if container else Placement("unit", target)
