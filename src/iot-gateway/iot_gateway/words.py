"""Figures as an operator says them."""

from collections.abc import Mapping
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Return a duration by its two largest units: ``3 d 4 h``, ``12 s``."""
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def size(count: float) -> str:
    """Return a number of bytes: ``512.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def behind(outbox: Mapping[str, Any]) -> str:
    """Return how far behind the uplink is: ``12 s behind, 34,000 readings in the outbox``.

    Args:
        outbox: the status of the outbox.
    """
    entries: int = outbox["entries"]
    if not entries:
        return "outbox empty"
    readings = f"{entries:,} reading{'' if entries == 1 else 's'} in the outbox"
    return f"{duration(outbox['oldest_seconds'])} behind, {readings}"
