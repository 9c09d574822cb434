"""The checkpoint: an outbox's progress, on disk.

Two slots in one file of fixed size, written in turn: a power cut can spoil the slot being written, never the one
before it, and no space is needed to write, so it works on a full disk.
"""

import os
import struct
import zlib
from pathlib import Path

from iot_gateway.interfaces import END, Position
from iot_gateway.outbox.progress import Cause, Progress, Stretch

_HEAD = struct.Struct("<QQQQI")
"""Number of the write, entries confirmed, dropped for bytes, dropped for age, number of places that follow."""
_PLACE = struct.Struct("<QQI")
"""Segment, offset, skip: where a gap begins, where it ends, where the next begins; the last has no end."""
_CRC = 4
_SLOT_SIZE = 4096
MAX_GAPS = (_SLOT_SIZE - _HEAD.size - _CRC) // (2 * _PLACE.size)


class Checkpoint:
    """The progress of one outbox."""

    def __init__(self, path: Path):
        """Open the checkpoint, or make it.

        Raises:
            OSError: it can't be opened or made.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._writes = 0
        self.progress: Progress | None = None
        """As it was saved last; None if it never was."""
        for slot in (0, 1):
            self._load(os.pread(self._descriptor, _SLOT_SIZE, slot * _SLOT_SIZE))
        if self.progress is None:
            os.pwrite(self._descriptor, bytes(2 * _SLOT_SIZE), 0)
            os.fsync(self._descriptor)

    def _load(self, data: bytes) -> None:
        if len(data) < _HEAD.size:
            return
        writes, confirmed, by_bytes, by_age, places = _HEAD.unpack_from(data)
        end = _HEAD.size + places * _PLACE.size
        if end + _CRC > len(data) or zlib.crc32(data[:end]) != int.from_bytes(data[end : end + _CRC], "little"):
            return
        if writes > self._writes and places:
            found = [Position(*place) for place in _PLACE.iter_unpack(data[_HEAD.size : end])]
            gaps = tuple(zip(found[::2], [*found[1::2], END], strict=True))
            self._writes = writes
            self.progress = Progress(gaps, confirmed, {Cause.BYTES: by_bytes, Cause.AGE: by_age})

    def save(self, progress: Progress) -> None:
        """Write the progress; durable once this returns.

        Raises:
            OSError: the disk is faulty.
        """
        self._writes += 1
        places = [place for gap in _few(progress.gaps) for place in gap][:-1]
        dropped = progress.dropped
        head = _HEAD.pack(self._writes, progress.confirmed, dropped[Cause.BYTES], dropped[Cause.AGE], len(places))
        data = head + b"".join([_PLACE.pack(*place) for place in places])
        data += zlib.crc32(data).to_bytes(_CRC, "little")
        os.pwrite(self._descriptor, data, self._writes % 2 * _SLOT_SIZE)
        os.fdatasync(self._descriptor)
        self.progress = progress

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _few(gaps: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    """Return as many gaps as there is room for: what lies behind them counts as not confirmed, and is sent twice."""
    if len(gaps) <= MAX_GAPS:
        return gaps
    return (*gaps[: MAX_GAPS - 1], (gaps[MAX_GAPS - 1][0], END))
