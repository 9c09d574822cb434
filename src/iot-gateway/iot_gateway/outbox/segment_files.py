"""The segment files of an outbox: which there are, how large, how many entries each has, and how they are read."""

import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from iot_gateway.interfaces import Position
from iot_gateway.outbox import frames as layout
from iot_gateway.outbox.progress import Stretch

logger = logging.getLogger(__name__)

_SUFFIX = ".segment"
START = len(layout.MAGIC)
"""Where the first frame of a segment is."""


class SegmentFiles:
    """Files ``<number>.segment``; what is written to the last of them, :meth:`grow` tells."""

    def __init__(self, directory: Path):
        self.used = 0
        """Bytes on disk."""
        self.damage: str | None = None
        """What the disk spoiled."""
        self._directory = directory
        self._sizes: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        """Entries in each segment, confirmed or not."""
        self._reader: tuple[int, int] | None = None

    def path(self, segment: int) -> Path:
        """Return where a segment is."""
        return self._directory / f"{segment:016d}{_SUFFIX}"

    def found(self) -> list[int]:
        """Return the numbers of the segments in the directory, in order."""
        return sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))

    def known(self) -> Sequence[int]:
        """Return the numbers of the segments that were examined or written, in order."""
        return list(self._sizes)

    def examine(self, segment: int, *, last: bool) -> int:
        """Measure a segment; cut a torn end off the last one; return when its last entry was stored (ms)."""
        count = stored_ms = 0
        end = START
        path = self.path(segment)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset, stored in layout.walk(descriptor):
                end = offset + stored.size
                count += stored.frame.entries
                stored_ms = stored.stored_ms
            size = os.fstat(descriptor).st_size
            if size > end and last:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
                logger.warning("cut %d bytes off %s that were not whole and never acknowledged", size - end, path)
                size = end
        finally:
            os.close(descriptor)
        self.grow(segment, size, count)
        return stored_ms

    def grow(self, segment: int, size: int, entries: int) -> None:
        """Take into account that a segment has ``size`` bytes now, and so many more entries."""
        self.used += size - self._sizes.get(segment, 0)
        self._sizes[segment] = size
        self._counts[segment] = self._counts.get(segment, 0) + entries

    def delete(self, segment: int) -> None:
        """Delete a segment; nothing happens where there is none."""
        if self._reader is not None and self._reader[0] == segment:
            self._close_reader()
        self.path(segment).unlink(missing_ok=True)
        self.used -= self._sizes.pop(segment, 0)
        self._counts.pop(segment, None)

    def stretch(self, segment: int) -> Stretch | None:
        """Return where a segment begins and ends; None if there is none."""
        size = self._sizes.get(segment)
        return None if size is None else (Position(segment, START, 0), Position(segment, size, 0))

    def oldest(self, size: int, *, before: int) -> int:
        """Return the last of the oldest segments that have so many bytes together; 0 if all before one have fewer."""
        for segment in self._sizes:
            if segment >= before:
                break
            size -= self._sizes[segment]
            if size <= 0:
                return segment
        return 0

    def settled(self, position: Position) -> Position | None:
        """Return where the entry at ``position`` really is; None if there is none.

        The end of a segment is the start of the next.
        """
        if position.offset < self._sizes.get(position.segment, 0):
            return position
        if self._sizes.get(position.segment + 1, 0) > START:
            return Position(position.segment + 1, START, 0)
        # A segment may hold nothing: a kill came between its beginning and its first frame.
        following = [number for number, size in self._sizes.items() if number > position.segment and size > START]
        return Position(min(following), START, 0) if following else None

    def read(self, position: Position) -> layout.StoredFrame | None:
        """Return the frame at a position; None if the disk spoiled it: then the rest of the segment is set aside."""
        segment, offset, _ = position
        stored = layout.read(self._open(segment), offset)
        if stored is None:
            self._set_aside(segment, offset)
        return stored

    def header(self, position: Position) -> layout.Header | None:
        """Return what the frame at a position says of itself; None at the end of its segment."""
        if position.offset >= self._sizes.get(position.segment, 0):
            return None
        return layout.header(self._open(position.segment), position.offset)

    def _set_aside(self, segment: int, offset: int) -> None:
        """Keep a segment that the disk spoiled after it was written; the rest of it can't be sent."""
        path = self.path(segment)
        kept = path.with_suffix(".damaged")
        with contextlib.suppress(FileExistsError):
            os.link(path, kept)
        self.damage = f"{path} was damaged at byte {offset}; it is kept as {kept.name}"
        whole = sum(stored.frame.entries for _, stored in layout.walk(self._open(segment)))
        lost = self._counts[segment] - whole
        logger.error("%s is damaged at byte %d: %d entries are not sent, it is kept as %s", path, offset, lost, kept)
        self.grow(segment, offset, -lost)

    def count(self, stretches: Iterable[Stretch]) -> int:
        """Count the entries in stretches."""
        return sum(
            self._count_in(segment, max(a, Position(segment, START, 0)), b)
            for a, b in stretches
            for segment in self._sizes
            if a.segment <= segment <= b.segment
        )

    def _count_in(self, segment: int, begin: Position, end: Position) -> int:
        size = self._sizes[segment]
        if begin <= (segment, START, 0) and end >= (segment, size, 0):
            return self._counts[segment]
        count = 0
        while begin.offset < size and (segment, begin.offset) <= end[:2]:
            header = self.header(begin)
            if header is None:
                break
            count += (end.skip if (segment, begin.offset) == end[:2] else header.entries) - begin.skip
            begin = Position(segment, begin.offset + header.size, 0)
        return count

    def bytes(self, stretches: Iterable[Stretch]) -> int:
        """Count the bytes in stretches; a frame that is in one in part counts as a whole."""
        return sum(
            max(0, (b.offset if b.segment == segment else size) - (a.offset if a.segment == segment else START))
            for a, b in stretches
            for segment, size in self._sizes.items()
            if a.segment <= segment <= b.segment
        )

    def close(self) -> None:
        """Release what is open for reading."""
        self._close_reader()

    def _open(self, segment: int) -> int:
        if self._reader is None or self._reader[0] != segment:
            self._close_reader()
            self._reader = (segment, os.open(self.path(segment), os.O_RDONLY | os.O_CLOEXEC))
        return self._reader[1]

    def _close_reader(self) -> None:
        if self._reader is not None:
            os.close(self._reader[1])
            self._reader = None
