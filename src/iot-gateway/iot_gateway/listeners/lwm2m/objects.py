"""The objects of sensors and actuators that the gateway knows (IPSO, OMA registry of objects and resources).

A resource has a name in the lake, ``<object>/<instance>`` and for some ``/<part>``; these names do not change any more.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UNITS: Final = 5701
"""The resource with the unit of an instance's value."""


class Kind(StrEnum):
    """The type of a resource's value."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Resource:
    """A value of an object."""

    part: str
    """What stands behind the instance in its name; empty for the object's only value."""
    kind: Kind
    unit: str = ""
    """In SenML's registry, unless the instance says something else."""
    has_unit: bool = True
    """Whether UNITS of its instance is its own."""


@dataclass(frozen=True, slots=True)
class ObjectType:
    """An object."""

    name: str
    resources: dict[int, Resource]
    """Those that become readings, by number."""


def _sensor(name: str, unit: str) -> ObjectType:
    return ObjectType(name, {5700: Resource("", Kind.FLOAT, unit)})


def _axes(name: str, unit: str) -> ObjectType:
    parts = {5702: "x", 5703: "y", 5704: "z"}
    return ObjectType(name, {number: Resource(part, Kind.FLOAT, unit) for number, part in parts.items()})


OBJECTS: Final = {
    3301: _sensor("illuminance", "lx"),
    3303: _sensor("temperature", "Cel"),
    3304: _sensor("humidity", "%RH"),
    3308: ObjectType("set-point", {5900: Resource("", Kind.FLOAT)}),
    3311: ObjectType(
        "light",
        {
            5850: Resource("on", Kind.BOOLEAN, has_unit=False),
            5851: Resource("dimmer", Kind.INTEGER, "%", has_unit=False),
        },
    ),
    3313: _axes("accelerometer", "m/s2"),
    3314: _axes("magnetometer", "T"),
    3315: _sensor("barometer", "Pa"),
    3334: _axes("gyrometer", "rad/s"),
    3342: ObjectType("switch", {5500: Resource("", Kind.BOOLEAN, has_unit=False)}),
}
"""By number."""

Path = tuple[int, ...]
"""Object, instance, resource, resource instance; or the first of these."""

_BY_NAME: Final = {
    (kind.name, resource.part): (number, resource_number)
    for number, kind in OBJECTS.items()
    for resource_number, resource in kind.resources.items()
}
MOST_ID: Final = 0xFFFF
_PATH = re.compile(r"/\d{1,5}(/\d{1,5}){0,3}")
_UNIT_NAMES: Final = {
    "cel": "Cel",
    "celsius": "Cel",
    "°c": "Cel",
    "c": "Cel",
    "lux": "lx",
    "pascal": "Pa",
    "percent": "%",
}


def resource(path: Path) -> Resource | None:
    """Return what is known of a resource."""
    kind = OBJECTS.get(path[0]) if len(path) == 3 else None
    return kind.resources.get(path[2]) if kind else None


def name(path: Path) -> str:
    """Return the name that a resource has in the lake: ``temperature/0``; the numbers, where it is not known."""
    known = resource(path)
    if known is None:
        return "/".join(map(str, path))
    found = f"{OBJECTS[path[0]].name}/{path[1]}"
    return f"{found}/{known.part}" if known.part else found


def unit(path: Path, given: str = "") -> str:
    """Return the unit of a resource's value in SenML's words.

    Args:
        path: of the resource.
        given: what the node says.
    """
    known = resource(path)
    if not given or (known is not None and not known.has_unit):
        return known.unit if known else ""
    if given == "%" and known is not None and known.unit == "%RH":
        return "%RH"
    return _UNIT_NAMES.get(given.lower(), given)


def parse_path(text: str) -> Path | None:
    """Read a path such as ``/3303/0/5700``; None if it is none."""
    path = tuple(int(part) for part in text[1:].split("/")) if _PATH.fullmatch(text) else None
    return path if path and max(path) <= MOST_ID else None


def target(text: str) -> Path | None:
    """Return the resource that a command is for: its path, or its name in the lake; None if it is none."""
    path = parse_path(text)
    if path is not None:
        return path if len(path) == 3 else None
    parts = text.split("/")
    instance = parse_path(f"/{parts[1]}") if len(parts) in (2, 3) else None
    found = _BY_NAME.get((parts[0], parts[2] if len(parts) == 3 else ""))
    return (found[0], *instance, found[1]) if instance and found else None
