"""What storage a charm declares and an operator asks for: kinds, sizes and counts."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tabletop.charmfile import CharmFile, Storage
from tabletop.errors import TabletopError

POOL = "tabletop"
"""The one pool there is: directories on this machine's disk."""
_POOLS = (POOL, "rootfs", "lxd")
"""Names of pools that clouds of containers have, for which ours stands in."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([MGTP])(?:i?B)?\Z")
_MIB: Mapping[str, int] = {"M": 1, "G": 1 << 10, "T": 1 << 20, "P": 1 << 30}
_DEFAULT_SIZE = 1 << 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many pieces of a storage a unit gets, and their size in MiB, which nothing enforces."""

    size: int
    count: int


def parse_size(text: str) -> int:
    """Read a size such as 512M or 1.5G, in MiB.

    Raises:
        ValueError: it isn't one.
    """
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} isn't a size such as 512M or 1G")
    return max(1, round(float(match[1]) * _MIB[match[2]]))


def parse_directive(name: str, text: str) -> tuple[int | None, int | None]:
    """Read what follows `name=`: a pool, a size and a count, in any order and each but once; return size and count.

    Raises:
        TabletopError: a part makes no sense.
    """
    size: int | None = None
    count: int | None = None
    for part in text.split(","):
        if part.isdecimal() and count is None:
            count = int(part)
        elif _SIZE.match(part) and size is None:
            size = parse_size(part)
        elif part not in _POOLS:
            raise TabletopError(
                f'storage "{name}": {part!r} in "{text}" is neither a count, a size such as 1G, nor a pool; the pools'
                f" here are {', '.join(_POOLS)}, which are all the same"
            )
    return size, count


def directives(charm: CharmFile, given: Mapping[str, str]) -> dict[str, Wanted]:
    """Return what each unit of a charm gets of each of its storages, as the charm says and an operator asks.

    Raises:
        TabletopError: the charm has no such storage, its range is left, or it is of a type that isn't there.
    """
    for name in given:
        if name not in charm.storage:
            raise TabletopError(f'charm "{charm.name}" has no store called "{name}" (it has: {_names(charm.storage)})')
    found: dict[str, Wanted] = {}
    for name, declared in charm.storage.items():
        size, count = parse_directive(name, given[name]) if name in given else (None, None)
        wanted = _wanted(charm, declared, size, count)
        if wanted.count:
            check_kind(charm, declared)
        found[name] = wanted
    return found


def _wanted(charm: CharmFile, declared: Storage, size: int | None, count: int | None) -> Wanted:
    store = f'charm "{charm.name}" store "{declared.name}"'
    if count is None:
        # A size alone asks for one piece of what is optional.
        count = max(declared.minimum, 1 if size is not None else 0)
    if count < declared.minimum:
        raise TabletopError(f"{store}: {declared.minimum} instances required, {count} specified")
    check_maximum(charm, declared, count)
    return Wanted(size_of(charm, declared, size), count)


def size_of(charm: CharmFile, declared: Storage, size: int | None) -> int:
    """Return the size in MiB of a piece of storage for which one is asked for, or None.

    Raises:
        TabletopError: it is less than the charm needs.
    """
    least = parse_size(declared.minimum_size) if declared.minimum_size else 0
    if size is None:
        return max(_DEFAULT_SIZE, least)
    if size < least:
        raise TabletopError(
            f'charm "{charm.name}" store "{declared.name}": minimum storage size is {show_size(least)},'
            f" {show_size(size)} specified"
        )
    return size


def check_maximum(charm: CharmFile, declared: Storage, count: int) -> None:
    """Check that a unit may have so many pieces of a storage.

    Raises:
        TabletopError: they are too many.
    """
    if declared.maximum is not None and count > declared.maximum:
        raise TabletopError(
            f'charm "{charm.name}" store "{declared.name}": at most {declared.maximum} instances supported,'
            f" {count} specified"
        )


def check_kind(charm: CharmFile, declared: Storage) -> None:
    """Refuse storage that tabletop has not got.

    Raises:
        TabletopError: it is a block device, or shared between units.
    """
    store = f'charm "{charm.name}" store "{declared.name}"'
    if declared.type != "filesystem":
        raise TabletopError(f"{store}: tabletop has no storage of type {declared.type}, only filesystem")
    if declared.shared:
        raise TabletopError(f"{store}: shared storage support not implemented, neither here nor in Juju")
    if declared.location.startswith("/var/lib/juju"):
        raise TabletopError(f'{store}: invalid location "{declared.location}": must not fall within "/var/lib/juju"')


def show_size(mib: int) -> str:
    """Write a size as Juju does."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1024 else f"{mib} MiB"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
