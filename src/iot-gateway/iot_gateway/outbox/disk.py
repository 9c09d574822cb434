"""An outbox of segment files in one directory.

A segment is written by one process, in order, and never changed once the next has begun; it is deleted when every
entry in it is confirmed. What was being written when the power went is cut off at the next start: it had not been
acknowledged to anyone.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, model_validator

from iot_gateway import interfaces
from iot_gateway.errors import OutboxFullError, OutboxUnavailableError
from iot_gateway.interfaces import Frame, Position, Stored
from iot_gateway.outbox import frames as layout
from iot_gateway.outbox.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

_SUFFIX = ".segment"
_START = len(layout.MAGIC)
Result = TypeVar("Result")


class DiskOptions(interfaces.Options):
    """Settings of a disk outbox; both bounds are for each lane."""

    max_bytes: int = Field(default=2**30, ge=2**20)
    """Bytes on disk at most."""
    segment_bytes: int = Field(default=8 * 2**20, ge=2**16)
    """Size at which a new segment is begun; also how much confirmed data may wait for its deletion."""

    @model_validator(mode="after")
    def _several_segments(self) -> "DiskOptions":
        if self.segment_bytes * 4 > self.max_bytes:
            raise ValueError("segment_bytes must be at most a quarter of max_bytes")
        return self


class DiskOutbox(interfaces.Outbox):
    """Segments ``<number>.segment`` and a ``checkpoint`` in a directory that no other process may use."""

    Options = DiskOptions

    def __init__(self, directory: Path, options: DiskOptions):
        """Open the outbox as its last user left it, however that ended.

        Raises:
            OutboxUnavailableError: the directory can't be used, or another process uses it.
        """
        self._directory = directory
        self._options = options
        self._reader: tuple[int, int] | None = None
        self._write_descriptor = -1
        self._error: str | None = None
        self._damage: str | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._directory_descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._directory_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._checkpoint = Checkpoint(directory / "checkpoint")
                self._recover()
            except OSError:
                os.close(self._directory_descriptor)
                raise
        except BlockingIOError as error:
            raise OutboxUnavailableError(f"{directory} is in use by another relay") from error
        except OSError as error:
            raise OutboxUnavailableError(f"{directory}: {error}") from error
        # Threads, since fdatasync takes from 0.3 ms to a second: appends and checkpoints must not wait for each other.
        self._appender = ThreadPoolExecutor(1, f"append-{directory.name}")
        self._checkpointer = ThreadPoolExecutor(1, f"checkpoint-{directory.name}")

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:016d}{_SUFFIX}"

    def _recover(self) -> None:
        found = sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))
        last = found[-1] if found else 0
        checkpoint = self._checkpoint.position
        # Without a checkpoint everything counts as unconfirmed: sent twice at worst, never lost.
        head = checkpoint or Position(found[0] if found else 0, _START, 0)
        self._sizes: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        """Entries in each segment, confirmed or not."""
        self._entries = 0
        for segment in found:
            if segment < head.segment:
                self._path(segment).unlink()
            else:
                self._entries += self._examine(segment, head, last)
        self._segment = max(last, head.segment) + 1
        if head.segment not in self._sizes:
            head = Position(min(self._sizes, default=self._segment), _START, 0)
        self.head = head
        self._written = _START
        self.tail = Position(self._segment, _START, 0)

    def _examine(self, segment: int, head: Position, last: int) -> int:
        """Count a segment's unconfirmed entries; cut a torn end off the last one."""
        entries = count = 0
        end = _START
        path = self._path(segment)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset, stored in layout.walk(descriptor):
                end = offset + stored.size
                count += stored.frame.entries
                if (segment, offset) >= head[:2]:
                    entries += stored.frame.entries - (head.skip if (segment, offset) == head[:2] else 0)
            size = os.fstat(descriptor).st_size
            if size > end and segment == last:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
                logger.warning("cut %d bytes off %s that were not whole and never acknowledged", size - end, path)
                size = end
        finally:
            os.close(descriptor)
        self._sizes[segment], self._counts[segment] = size, count
        return entries

    async def _in(self, executor: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    async def append(self, frames: Sequence[Frame]) -> None:
        """Store frames with one write and one fdatasync."""
        now = time.time_ns() // 1_000_000
        data = b"".join([layout.pack(frame, now) for frame in frames])
        if sum(self._sizes.values()) + len(data) > self._options.max_bytes:
            raise OutboxFullError(f"{self._directory} is full: it may hold {self._options.max_bytes} bytes")
        try:
            segment, end = await self._in(self._appender, self._write, data)
        except OSError as error:
            self._error = f"{self._directory}: {error.strerror or error}"
            raise OutboxUnavailableError(self._error) from error
        self._error = None
        count = sum(frame.entries for frame in frames)
        self._sizes[segment] = end
        self._counts[segment] = self._counts.get(segment, 0) + count
        self._entries += count
        self.tail = Position(segment, end, 0)

    def _write(self, data: bytes) -> tuple[int, int]:
        if self._write_descriptor >= 0 and self._written >= self._options.segment_bytes:
            self._finish_segment()
        try:
            if self._write_descriptor < 0:
                self._begin_segment()
            view = memoryview(data)
            while view:
                view = view[os.write(self._write_descriptor, view) :]
            os.fdatasync(self._write_descriptor)
        except OSError:
            # What may be half there must not stay. After a failed fdatasync the pages are gone from the cache and
            # the file can't be trusted any more, so the next attempt begins a new one.
            if self._write_descriptor >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._write_descriptor, self._written)
                self._finish_segment()
            raise
        self._written += len(data)
        return self._segment, self._written

    def _begin_segment(self) -> None:
        path = self._path(self._segment)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            if os.write(descriptor, layout.MAGIC) < _START:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._directory_descriptor)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._write_descriptor = descriptor
        self._written = _START

    def _finish_segment(self) -> None:
        os.close(self._write_descriptor)
        self._write_descriptor = -1
        self._segment += 1

    def read(self, position: Position) -> Stored | None:
        """Return the frame at ``position``; moves on over segment ends."""
        while (position := self._settled(position)) < self.tail:
            segment, offset, _ = position
            stored = layout.read(self._open(segment), offset)
            if stored is not None:
                return Stored(stored.frame, position, Position(segment, offset + stored.size, 0))
            self._set_aside(segment, offset)
        return None

    def _settled(self, position: Position) -> Position:
        """Return the place where the entry at ``position`` really is: the end of a segment is the start of the next."""
        if position.offset < self._sizes.get(position.segment, 0):
            return position
        # A segment may hold nothing: a kill came between its beginning and its first frame.
        following = [number for number, size in self._sizes.items() if number > position.segment and size > _START]
        return Position(min(following), _START, 0) if following else self.tail

    def _open(self, segment: int) -> int:
        if self._reader is None or self._reader[0] != segment:
            self._close_reader()
            self._reader = (segment, os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC))
        return self._reader[1]

    def _close_reader(self) -> None:
        if self._reader is not None:
            os.close(self._reader[1])
            self._reader = None

    def _set_aside(self, segment: int, offset: int) -> None:
        """Keep a segment that the disk spoiled after it was written; the rest of it can't be sent."""
        path = self._path(segment)
        kept = path.with_suffix(".damaged")
        with contextlib.suppress(FileExistsError):
            os.link(path, kept)
        self._damage = f"{path} was damaged at byte {offset}; it is kept as {kept.name}"
        whole = sum(stored.frame.entries for _, stored in layout.walk(self._open(segment)))
        lost = self._counts[segment] - whole
        logger.error("%s is damaged at byte %d: %d entries are not sent, it is kept as %s", path, offset, lost, kept)
        self._sizes[segment], self._counts[segment] = offset, whole
        self._entries -= lost

    async def advance(self, position: Position, confirmed: int) -> None:
        """Save the checkpoint, then delete the segments that lie wholly before it."""
        await self._in(self._checkpointer, self._checkpoint.save, position, self._checkpoint.confirmed + confirmed)
        self.head = position
        self._entries -= confirmed
        # The open segment stays even if all of it is confirmed.
        for segment in [number for number in self._sizes if number < min(position.segment, self.tail.segment)]:
            if self._reader is not None and self._reader[0] == segment:
                self._close_reader()
            self._path(segment).unlink(missing_ok=True)
            del self._sizes[segment], self._counts[segment]

    def configure(self, options: DiskOptions) -> None:
        """Use other bounds from now on."""
        self._options = options

    def close(self) -> None:
        """Release the files; what is being written is finished first."""
        self._appender.shutdown()
        self._checkpointer.shutdown()
        self._close_reader()
        if self._write_descriptor >= 0:
            os.close(self._write_descriptor)
            self._write_descriptor = -1
        self._checkpoint.close()
        os.close(self._directory_descriptor)

    def status(self) -> dict[str, Any]:
        """Return the figures of the outbox; ``bytes`` counts what is not confirmed."""
        oldest = None
        head = self._settled(self.head)
        if head < self.tail:
            oldest = layout.stored_at(self._open(head.segment), head.offset)
        confirmed_bytes = self.head.offset - _START if self.head.segment in self._sizes else 0
        unconfirmed_bytes = sum(size - _START for size in self._sizes.values()) - confirmed_bytes
        return {
            "entries": self._entries,
            "bytes": max(0, unconfirmed_bytes),
            "max_bytes": self._options.max_bytes,
            "oldest_seconds": round(max(0.0, time.time() - oldest), 3) if oldest is not None else 0.0,
            "confirmed_total": self._checkpoint.confirmed,
            "error": self._error or self._damage,
        }
