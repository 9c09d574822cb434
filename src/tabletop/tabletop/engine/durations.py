"""Durations as Go writes them (`1h30m`, `500ms`) and times as JSON carries them (RFC 3339)."""

import re
from datetime import UTC, datetime

from tabletop.errors import TabletopError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `5m` or `1h30m`.

    Raises:
        TabletopError: it isn't one.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise TabletopError(f'"{text}" is not a duration such as "5m" or "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def rfc3339(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
