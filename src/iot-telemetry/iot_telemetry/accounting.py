"""Accounting: of what was sent, what arrived, what came twice, and what is missing."""

from array import array
from bisect import bisect_right
from typing import NamedTuple

from iot_telemetry.reading import Reading


class NodeReport(NamedTuple):
    """What is known of one node's readings."""

    distinct: int
    """Readings that arrived, each counted once."""
    duplicates: int
    """Readings that arrived again."""
    lost: int
    """Readings missing below the highest sequence number seen of each sensor.

    What was lost after the last reading that arrived can't be seen here: compare ``distinct`` with what was sent.
    """


class SequenceSet:
    """A set of sequence numbers, kept as disjoint ranges: its memory grows with the gaps, not with the numbers."""

    __slots__ = ("_ends", "_starts", "duplicates")

    def __init__(self):
        self._starts = array("q")
        self._ends = array("q")
        self.duplicates = 0

    def add(self, number: int) -> bool:
        """Add ``number``; return False (and count a duplicate) if it was there already."""
        starts, ends = self._starts, self._ends
        # Numbers nearly always arrive in order, so the last range is looked at first.
        index = len(starts) if not starts or number >= starts[-1] else bisect_right(starts, number)
        if index and number < ends[index - 1]:
            self.duplicates += 1
            return False
        joins_left = index > 0 and ends[index - 1] == number
        joins_right = index < len(starts) and starts[index] == number + 1
        if joins_left and joins_right:
            ends[index - 1] = ends[index]
            del starts[index], ends[index]
        elif joins_left:
            ends[index - 1] = number + 1
        elif joins_right:
            starts[index] = number
        else:
            starts.insert(index, number)
            ends.insert(index, number + 1)
        return True

    def __len__(self) -> int:
        """Count the numbers in the set."""
        return sum(self._ends) - sum(self._starts)

    @property
    def highest(self) -> int | None:
        """The highest number in the set."""
        return self._ends[-1] - 1 if self._ends else None

    def missing(self, first: int = 0) -> int:
        """Count the numbers from ``first`` up to the highest that are not in the set."""
        if not self._ends:
            return 0
        below = sum(max(0, min(end, first) - start) for start, end in zip(self._starts, self._ends, strict=True))
        return max(0, self._ends[-1] - first) - (len(self) - below)


class Account:
    """Counts readings by node.

    Readings are told apart by ``(node, sensor, seq)``. A reading without ``seq`` can't be told from a repeated one:
    it counts as distinct. Lines that tell of commands are no readings, and don't count. Memory is a pair of integers
    for every gap of every sensor, so millions of readings in nearly any order fit.
    """

    def __init__(self):
        self._counted: dict[tuple[str, str], SequenceSet] = {}
        self._uncounted: dict[str, int] = {}

    def add(self, reading: Reading) -> None:
        """Count one reading."""
        if reading.command is not None:
            return
        if reading.seq is None:
            self._uncounted[reading.node] = self._uncounted.get(reading.node, 0) + 1
            return
        key = (reading.node, reading.sensor)
        numbers = self._counted.get(key)
        if numbers is None:
            numbers = self._counted[key] = SequenceSet()
        numbers.add(reading.seq)

    def report(self) -> dict[str, NodeReport]:
        """Return the figures of every node seen, by its name."""
        totals: dict[str, list[int]] = {node: [count, 0, 0] for node, count in self._uncounted.items()}
        for (node, _), numbers in self._counted.items():
            figures = totals.setdefault(node, [0, 0, 0])
            figures[0] += len(numbers)
            figures[1] += numbers.duplicates
            figures[2] += numbers.missing()
        return {node: NodeReport(*figures) for node, figures in sorted(totals.items())}
