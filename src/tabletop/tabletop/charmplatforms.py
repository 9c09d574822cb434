"""The architectures that a charm is for, as charmcraft.yaml and a packed charm's manifest say them."""

from collections.abc import Iterator, Mapping
from typing import Any, cast


def architectures_of_platforms(platforms: object) -> tuple[str, ...]:
    """Read `platforms` of a charmcraft.yaml.

    A platform is named after its architecture (``arm64:``, ``ubuntu@24.04:arm64:``) or has a `build-for`.
    """
    found: list[str] = []
    for name, value in _mapping(platforms).items():
        build_for = _mapping(value).get("build-for")
        for platform in [str(name)] if build_for is None else _words(build_for):
            found.append(platform.rpartition(":")[2])
    return tuple(dict.fromkeys(found))


def architectures_of_manifest(bases: object) -> tuple[str, ...]:
    """Read `bases` of a packed charm's manifest.yaml."""
    found: list[str] = []
    for base in cast("list[object]", bases) if isinstance(bases, list) else []:
        found += _words(_mapping(base).get("architectures"))
    return tuple(dict.fromkeys(found))


def _mapping(value: object) -> Mapping[Any, object]:
    return cast("Mapping[Any, object]", value) if isinstance(value, Mapping) else {}


def _words(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from map(str, cast("list[object]", value))
