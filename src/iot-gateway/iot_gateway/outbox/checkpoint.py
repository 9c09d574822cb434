"""The checkpoint: how far an outbox is confirmed.

Two slots in one file of fixed size, written in turn: a power cut can spoil the slot being written, never the one
before it, and no space is needed to write, so it works on a full disk.
"""

import os
import struct
import zlib
from pathlib import Path

from iot_gateway.interfaces import Position

_SLOT = struct.Struct("<QQQQQ")
"""Number of the write, segment, offset, skip, entries confirmed in all."""
_SLOT_SIZE = 512
"""A sector: written whole or not at all on most disks; the CRC tells for the others."""


class Checkpoint:
    """A position and a count, on disk."""

    def __init__(self, path: Path):
        """Open the checkpoint, or make it.

        Raises:
            OSError: it can't be opened or made.
        """
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._writes = 0
        self.position: Position | None = None
        self.confirmed = 0
        for slot in (0, 1):
            self._load(os.pread(self._descriptor, _SLOT.size + 4, slot * _SLOT_SIZE))
        if self.position is None:
            os.pwrite(self._descriptor, bytes(2 * _SLOT_SIZE), 0)
            os.fsync(self._descriptor)

    def _load(self, data: bytes) -> None:
        if len(data) < _SLOT.size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            return
        writes, segment, offset, skip, confirmed = _SLOT.unpack(data[:-4])
        if writes > self._writes:
            self._writes, self.position, self.confirmed = writes, Position(segment, offset, skip), confirmed

    def save(self, position: Position, confirmed: int) -> None:
        """Write position and count; durable once this returns.

        Raises:
            OSError: the disk is faulty.
        """
        self._writes += 1
        data = _SLOT.pack(self._writes, *position, confirmed)
        data += zlib.crc32(data).to_bytes(4, "little")
        os.pwrite(self._descriptor, data, self._writes % 2 * _SLOT_SIZE)
        os.fdatasync(self._descriptor)
        self.position, self.confirmed = position, confirmed

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
