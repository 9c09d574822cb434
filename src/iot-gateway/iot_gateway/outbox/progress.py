"""How far an outbox is confirmed: the stretches of it that are not, and counts.

What is sent in order leaves one stretch, from the first entry that is not confirmed onwards. What is sent newest first
leaves several, with what is confirmed between them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from iot_gateway.interfaces import END, Position

Stretch = tuple[Position, Position]
"""From a position up to, and without, another."""


class Cause(StrEnum):
    """Why entries were dropped without having been confirmed."""

    BYTES = "bytes"
    """There was no room for newer ones."""
    AGE = "age"
    """They were too old."""


@dataclass(frozen=True)
class Progress:
    """What is confirmed and what was dropped, since the outbox was made."""

    gaps: tuple[Stretch, ...]
    """What is neither confirmed nor dropped, in order; the last ends at :data:`~iot_gateway.interfaces.END`."""
    confirmed: int = 0
    """Entries."""
    dropped: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))
    """Entries."""

    @property
    def head(self) -> Position:
        """Where the first entry is that is not confirmed."""
        return self.gaps[0][0]

    def next(self, position: Position) -> Position:
        """Return the first place from ``position`` on that is neither confirmed nor dropped."""
        return next(max(position, a) for a, b in self.gaps if position < b)


def overlap(gaps: Iterable[Stretch], begin: Position, end: Position) -> list[Stretch]:
    """Return the parts of a stretch that lie in gaps."""
    return [(max(a, begin), min(b, end)) for a, b in gaps if a < end and begin < b]


def without(gaps: Iterable[Stretch], begin: Position, end: Position) -> list[Stretch]:
    """Return gaps with a stretch taken out of them."""
    kept: list[Stretch] = []
    for a, b in gaps:
        if end <= a or b <= begin:
            kept.append((a, b))
            continue
        if a < begin:
            kept.append((a, begin))
        if end < b:
            kept.append((end, b))
    return kept


def from_start(position: Position) -> Progress:
    """Return the progress of an outbox of which nothing is confirmed from ``position`` on."""
    return Progress(((position, END),))
