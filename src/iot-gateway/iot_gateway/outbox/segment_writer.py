"""The end of an outbox that is being written: one segment file, and the next when it is full."""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from iot_gateway.files import write_all
from iot_gateway.outbox import frames as layout
from iot_gateway.outbox.segment_files import START


class SegmentWriter:
    """Appends to the last segment. One thread at a time may use it."""

    def __init__(self, path: Callable[[int], Path], directory: int, segment: int):
        """Begin with a segment that is not there yet; it is made when there is something to write.

        Args:
            path: where a segment is, by its number.
            directory: a descriptor of the directory that they are in.
            segment: its number.
        """
        self.segment = segment
        """The one that is written, or will be next."""
        self._path = path
        self._directory = directory
        self._descriptor = -1
        self._written = START

    def is_full(self, bound: int) -> bool:
        """Tell whether there is a segment of at least so many bytes."""
        return self._descriptor >= 0 and self._written >= bound

    def write(self, data: bytes, bound: int) -> tuple[int, int]:
        """Write frames, durably, to the segment, or to the next one if it is full.

        Returns:
            The segment, and the bytes in it.

        Raises:
            OSError: the disk is full or faulty; nothing of ``data`` will be read.
        """
        if self.is_full(bound):
            self.finish()
        try:
            if self._descriptor < 0:
                self._begin()
            write_all(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError:
            # What may be half there must not stay. After a failed fdatasync the pages are gone from the cache and
            # the file can't be trusted any more, so the next attempt begins a new one.
            if self._descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, self._written)
                self.finish()
            raise
        self._written += len(data)
        return self.segment, self._written

    def _begin(self) -> None:
        path = self._path(self.segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            if os.write(descriptor, layout.MAGIC) < START:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._directory)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._descriptor = descriptor
        self._written = START

    def finish(self) -> None:
        """Write no more to the segment."""
        self.close()
        self.segment += 1

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
