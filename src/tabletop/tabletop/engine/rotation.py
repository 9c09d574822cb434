"""How often a secret is to be rotated."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_PERIODS: Mapping[str, timedelta | int] = {
    "hourly": _HOUR,
    "daily": _DAY,
    "weekly": 7 * _DAY,
    "monthly": 1,
    "quarterly": 3,
    "yearly": 12,
}
"""How often a secret is to be rotated: a span, or so many months."""
ROTATIONS = ("never", *_PERIODS)


def next_rotation(policy: str, since: float) -> float | None:
    """Return when a secret is to be rotated that was, or was to be, at some time; None: never.

    A month is one of the calendar's; a day that a month has not got lies in the next one, as in Go's `AddDate`.
    """
    period = _PERIODS.get(policy)
    if period is None:
        return None
    moment = datetime.fromtimestamp(since, UTC)
    if isinstance(period, timedelta):
        return (moment + period).timestamp()
    months = moment.year * 12 + moment.month - 1 + period
    first = moment.replace(year=months // 12, month=months % 12 + 1, day=1)
    return (first + (moment.day - 1) * _DAY).timestamp()
