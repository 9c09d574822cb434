"""An outbox of segment files in one directory.

A segment is written by one process, in order, and never changed once the next has begun; it is deleted when every
entry in it is confirmed, or dropped. What was being written when the power went is cut off at the next start: it had
not been acknowledged to anyone.

Whatever is forgotten, confirmed or dropped, is first written to the checkpoint and then deleted: a kill between the two
leaves a file that the next start deletes.
"""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from iot_gateway import interfaces
from iot_gateway.errors import OutboxFullError, OutboxUnavailableError
from iot_gateway.interfaces import END, Confirmed, Frame, Position, Stored
from iot_gateway.outbox import frames as layout
from iot_gateway.outbox.checkpoint import Checkpoint
from iot_gateway.outbox.clock import OutboxClock
from iot_gateway.outbox.options import DiskOptions
from iot_gateway.outbox.progress import Cause, Progress, Stretch, from_start, overlap, without
from iot_gateway.outbox.segment_files import START, SegmentFiles
from iot_gateway.outbox.segment_writer import SegmentWriter

_BEGINNING = Position(0, 0, 0)
Result = TypeVar("Result")


class DiskOutbox(interfaces.Outbox):
    """Segments ``<number>.segment`` and a ``checkpoint`` in a directory that no other process may use."""

    Options = DiskOptions

    def __init__(
        self,
        directory: Path,
        options: DiskOptions,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """Open the outbox as its last user left it, however that ended.

        Raises:
            OutboxUnavailableError: the directory can't be used, or another process uses it.
        """
        self._directory = directory
        self._options = options
        self._files = SegmentFiles(directory)
        self._error: str | None = None
        self._appended_bytes = 0
        self._changing = asyncio.Lock()
        """Held while the progress is being changed: the next change begins with the outcome of this one."""
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._directory_descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._directory_descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._checkpoint = Checkpoint(directory / "checkpoint")
                self._clock = OutboxClock(self._recover(), wall=wall, monotonic=monotonic)
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

    def _recover(self) -> int:
        """Take stock of the files; return when the last entry was stored, in milliseconds since the epoch."""
        found = self._files.found()
        last = found[-1] if found else 0
        # Without a checkpoint everything counts as unconfirmed: sent twice at worst, never lost.
        progress = self._checkpoint.progress or from_start(Position(found[0] if found else 1, START, 0))
        following = max(last + 1, *(a.segment + (a.offset > START) for a, _ in progress.gaps))
        self._writer = SegmentWriter(self._files.path, self._directory_descriptor, following)
        self.tail = Position(following, START, 0)
        stored_ms = 0
        for segment in found:
            if segment < progress.head.segment:
                self._files.delete(segment)
            else:
                stored_ms = max(stored_ms, self._files.examine(segment, last=segment == last))
        self._use(Progress(self._with_content(progress.gaps), progress.confirmed, progress.dropped))
        self._delete(self._files.known())
        self._entries = self._files.count(self._progress.gaps)
        return stored_ms

    async def _in(self, executor: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    async def append(self, frames: Sequence[Frame]) -> None:
        """Store frames with one write and one fdatasync."""
        now = self._clock.now_ms()
        data = b"".join([layout.pack(frame, now) for frame in frames])
        missing = self._files.used + len(data) - self._options.max_bytes
        if missing > 0 and not await self._drop_oldest(missing):
            raise OutboxFullError(f"{self._directory} is full: it may hold {self._options.max_bytes} bytes")
        while True:
            try:
                segment, end = await self._in(self._appender, self._writer.write, data, self._options.segment_bytes)
                break
            except OSError as error:
                self._error = f"{self._directory}: {error.strerror or error}"
                if error.errno != errno.ENOSPC or not await self._drop_oldest(1):
                    raise OutboxUnavailableError(self._error) from error
        self._error = None
        count = sum(frame.entries for frame in frames)
        self._files.grow(segment, end, count)
        self._entries += count
        self._appended_bytes += len(data)
        self.tail = Position(segment, end, 0)

    async def _drop_oldest(self, missing: int) -> bool:
        """Drop segments until there are ``missing`` bytes more; return False if that is not allowed or not possible."""
        if self._options.full != "drop-oldest":
            return False
        if self._writer.is_full(self._options.segment_bytes):
            await self._in(self._appender, self._writer.finish)
            self.tail = Position(self._writer.segment, START, 0)
        last = self._files.oldest(missing, before=self.tail.segment)
        if not last:
            return False
        async with self._changing:
            try:
                await self._drop(Position(last + 1, START, 0), Cause.BYTES)
            except OSError as error:
                raise OutboxUnavailableError(f"{self._directory}: {error.strerror or error}") from error
        return True

    async def _drop(self, end: Position, cause: Cause) -> None:
        """Drop what is not confirmed before a position."""
        begin, gaps = self._progress.head, self._progress.gaps
        count = self._files.count(overlap(gaps, _BEGINNING, end))
        dropped = {**self._progress.dropped, cause: self._progress.dropped[cause] + count}
        await self._save(
            Progress(self._with_content(without(gaps, _BEGINNING, end)), self._progress.confirmed, dropped)
        )
        self._entries -= count
        self._delete(range(begin.segment, end.segment + 1))

    def read(self, position: Position) -> Stored | None:
        """Return the first frame from ``position`` on that is not confirmed."""
        while (position := self._unconfirmed(position)) < self.tail:
            stored = self._files.read(position)
            if stored is not None:
                return Stored(stored.frame, position, _behind(position, stored.size))
            self._entries = self._files.count(self._progress.gaps)
        return None

    def _unconfirmed(self, position: Position) -> Position:
        while (settled := self._files.settled(position)) is not None and settled < self.tail:
            position = self._progress.next(settled)
            if position == settled:
                return position
        return self.tail

    def _with_content(self, gaps: Iterable[Stretch]) -> tuple[Stretch, ...]:
        """Return the gaps in which there is something: the last one, and those that do not lie between two segments."""
        return tuple((a, b) for a, b in gaps if b == END or (self._files.settled(a) or self.tail) < b)

    async def confirm(self, parts: Sequence[Confirmed]) -> None:
        """Save the checkpoint, then delete the segments of which nothing is needed any more."""
        async with self._changing:
            gaps: Sequence[Stretch] = self._progress.gaps
            gone = 0
            for begin, end, entries in parts:
                found = overlap(gaps, begin, end)
                # Entries that were dropped while they were on their way are counted as dropped, and as confirmed.
                gone += entries if found == [(begin, end)] else self._files.count(found)
                gaps = without(gaps, begin, end)
            confirmed = self._progress.confirmed + sum(part.entries for part in parts)
            await self._save(Progress(self._with_content(gaps), confirmed, self._progress.dropped))
            self._entries -= gone
            for begin, end, _ in parts:
                self._delete(range(begin.segment, end.segment + 1))

    async def _save(self, progress: Progress) -> None:
        await self._in(self._checkpointer, self._checkpoint.save, progress)
        self._use(progress)

    def _use(self, progress: Progress) -> None:
        self._progress = progress
        self.head, self.gaps = progress.head, len(progress.gaps)

    def _delete(self, segments: Iterable[int]) -> None:
        """Delete those of the segments of which nothing is needed; the open one stays even then."""
        for segment in segments:
            stretch = self._files.stretch(segment)
            if stretch is not None and segment < self.tail.segment and not overlap(self._progress.gaps, *stretch):
                self._files.delete(segment)

    def holds(self, position: Position) -> bool:
        """Tell whether the entry that ends at ``position`` is still to be confirmed."""
        return any(a < position <= b for a, b in self._progress.gaps)

    async def expire(self) -> None:
        """Drop the frames that are older than the settings allow, a segment at a time."""
        while self._options.max_age:
            async with self._changing:
                end = self._first_younger(self._clock.now_ms() - int(self._options.max_age * 1000))
                if end <= self._progress.head:
                    return
                await self._drop(end, Cause.AGE)

    def _first_younger(self, horizon_ms: int) -> Position:
        """Return where the first segment that holds something has a frame that was stored after ``horizon_ms``."""
        begin = self._unconfirmed(self._progress.head)
        end = begin
        while (header := self._files.header(end)) is not None and header.stored_ms < horizon_ms:
            end = _behind(end, header.size)
        return self._progress.head if end == begin else end

    def configure(self, options: DiskOptions) -> None:
        """Use other bounds from now on."""
        self._options = options

    def close(self) -> None:
        """Release the files; what is being written is finished first."""
        self._appender.shutdown()
        self._checkpointer.shutdown()
        self._files.close()
        self._writer.close()
        self._checkpoint.close()
        os.close(self._directory_descriptor)

    def status(self) -> dict[str, Any]:
        """Return the figures of the outbox; ``bytes`` counts what is not confirmed."""
        oldest = self._files.header(self._unconfirmed(self.head))
        disk = os.fstatvfs(self._directory_descriptor)
        return {
            "entries": self._entries,
            "bytes": self._files.bytes(self._progress.gaps),
            "max_bytes": self._options.max_bytes,
            "used_bytes": self._files.used,
            "free_bytes": disk.f_bavail * disk.f_frsize,
            "oldest_seconds": max(0, self._clock.now_ms() - oldest.stored_ms) / 1000 if oldest is not None else 0.0,
            "max_age": self._options.max_age,
            "confirmed_total": self._progress.confirmed,
            "dropped_total": {str(cause): count for cause, count in self._progress.dropped.items()},
            "appended_bytes": self._appended_bytes,
            "error": self._error or self._files.damage,
        }


def _behind(position: Position, size: int) -> Position:
    """Return the place behind a frame of so many bytes."""
    return Position(position.segment, position.offset + size, 0)
