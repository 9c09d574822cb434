"""An outbox of segment files in one directory.

A segment is written by one process, in order, and never changed once the next has begun; it is deleted when every
entry in it is confirmed, or dropped. What was being written when the power went is cut off at the next start: it had
not been acknowledged to anyone.

Whatever is forgotten, confirmed or dropped, is first written to the checkpoint and then deleted: a kill between the two
leaves a file that the next start deletes.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from iot_gateway import interfaces
from iot_gateway.errors import OutboxFullError, OutboxUnavailableError
from iot_gateway.files import write_all
from iot_gateway.interfaces import END, Confirmed, Frame, Position, Stored
from iot_gateway.outbox import frames as layout
from iot_gateway.outbox.checkpoint import Checkpoint
from iot_gateway.outbox.clock import OutboxClock
from iot_gateway.outbox.progress import Cause, Progress, Stretch, from_start, overlap, without

logger = logging.getLogger(__name__)

_SUFFIX = ".segment"
_START = len(layout.MAGIC)
_BEGINNING = Position(0, 0, 0)
Result = TypeVar("Result")


class DiskOptions(interfaces.Options, frozen=True, kw_only=True):
    """Settings of a disk outbox; both bounds are for each lane."""

    max_bytes: Annotated[int, Meta(ge=2**20)] = 2**30
    """Bytes on disk at most."""
    segment_bytes: Annotated[int, Meta(ge=2**16)] = 8 * 2**20
    """Size at which a new segment is begun; also how much confirmed data may wait for its deletion."""
    full: Literal["refuse", "drop-oldest"] = "refuse"
    """What happens when there is no room: nothing more is taken, or the oldest segments go, counted."""
    max_age: Annotated[float, Meta(ge=0.0)] = 0.0
    """Seconds after which an entry is dropped, counted; 0 for never."""

    def __post_init__(self) -> None:
        """Check that several segments fit."""
        if self.segment_bytes * 4 > self.max_bytes:
            raise ValueError("segment_bytes must be at most a quarter of max_bytes")


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
        self._reader: tuple[int, int] | None = None
        self._write_descriptor = -1
        self._error: str | None = None
        self._damage: str | None = None
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

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:016d}{_SUFFIX}"

    def _recover(self) -> int:
        """Take stock of the files; return when the last entry was stored, in milliseconds since the epoch."""
        found = sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))
        last = found[-1] if found else 0
        # Without a checkpoint everything counts as unconfirmed: sent twice at worst, never lost.
        progress = self._checkpoint.progress or from_start(Position(found[0] if found else 1, _START, 0))
        self._sizes: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        """Entries in each segment, confirmed or not."""
        self._used = 0
        self._segment = max(last + 1, *(a.segment + (a.offset > _START) for a, _ in progress.gaps))
        self._written = _START
        self.tail = Position(self._segment, _START, 0)
        stored_ms = 0
        for segment in found:
            if segment < progress.head.segment:
                self._path(segment).unlink()
            else:
                stored_ms = max(stored_ms, self._examine(segment, last))
        self._use(Progress(self._with_content(progress.gaps), progress.confirmed, progress.dropped))
        self._delete(list(self._sizes))
        self._entries = self._count(self._progress.gaps)
        return stored_ms

    def _examine(self, segment: int, last: int) -> int:
        """Measure a segment; cut a torn end off the last one; return when its last entry was stored."""
        count = stored_ms = 0
        end = _START
        path = self._path(segment)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for offset, stored in layout.walk(descriptor):
                end = offset + stored.size
                count += stored.frame.entries
                stored_ms = stored.stored_ms
            size = os.fstat(descriptor).st_size
            if size > end and segment == last:
                os.ftruncate(descriptor, end)
                os.fsync(descriptor)
                logger.warning("cut %d bytes off %s that were not whole and never acknowledged", size - end, path)
                size = end
        finally:
            os.close(descriptor)
        self._sizes[segment], self._counts[segment] = size, count
        self._used += size
        return stored_ms

    async def _in(self, executor: ThreadPoolExecutor, function: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, function, *arguments)

    async def append(self, frames: Sequence[Frame]) -> None:
        """Store frames with one write and one fdatasync."""
        now = self._clock.now_ms()
        data = b"".join([layout.pack(frame, now) for frame in frames])
        missing = self._used + len(data) - self._options.max_bytes
        if missing > 0 and not await self._drop_oldest(missing):
            raise OutboxFullError(f"{self._directory} is full: it may hold {self._options.max_bytes} bytes")
        while True:
            try:
                segment, end = await self._in(self._appender, self._write, data)
                break
            except OSError as error:
                self._error = f"{self._directory}: {error.strerror or error}"
                if error.errno != errno.ENOSPC or not await self._drop_oldest(1):
                    raise OutboxUnavailableError(self._error) from error
        self._error = None
        count = sum(frame.entries for frame in frames)
        self._used += end - self._sizes.get(segment, 0)
        self._sizes[segment] = end
        self._counts[segment] = self._counts.get(segment, 0) + count
        self._entries += count
        self._appended_bytes += len(data)
        self.tail = Position(segment, end, 0)

    async def _drop_oldest(self, missing: int) -> bool:
        """Drop segments until there are ``missing`` bytes more; return False if that is not allowed or not possible."""
        if self._options.full != "drop-oldest":
            return False
        if self._write_descriptor >= 0 and self._written >= self._options.segment_bytes:
            await self._in(self._appender, self._finish_segment)
            self.tail = Position(self._segment, _START, 0)
        closed = iter([segment for segment in self._sizes if segment < self.tail.segment])
        last = freed = 0
        while freed < missing:
            last = next(closed, 0)
            if not last:
                return False
            freed += self._sizes[last]
        async with self._changing:
            try:
                await self._drop(Position(last + 1, _START, 0), Cause.BYTES)
            except OSError as error:
                raise OutboxUnavailableError(f"{self._directory}: {error.strerror or error}") from error
        return True

    async def _drop(self, end: Position, cause: Cause) -> None:
        """Drop what is not confirmed before a position."""
        begin, gaps = self._progress.head, self._progress.gaps
        count = self._count(overlap(gaps, _BEGINNING, end))
        dropped = {**self._progress.dropped, cause: self._progress.dropped[cause] + count}
        await self._save(
            Progress(self._with_content(without(gaps, _BEGINNING, end)), self._progress.confirmed, dropped)
        )
        self._entries -= count
        self._delete(range(begin.segment, end.segment + 1))

    def _write(self, data: bytes) -> tuple[int, int]:
        if self._write_descriptor >= 0 and self._written >= self._options.segment_bytes:
            self._finish_segment()
        try:
            if self._write_descriptor < 0:
                self._begin_segment()
            write_all(self._write_descriptor, data)
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
        """Return the first frame from ``position`` on that is not confirmed."""
        while (position := self._unconfirmed(position)) < self.tail:
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
        if self._sizes.get(position.segment + 1, 0) > _START:
            return Position(position.segment + 1, _START, 0)
        # A segment may hold nothing: a kill came between its beginning and its first frame.
        following = [number for number, size in self._sizes.items() if number > position.segment and size > _START]
        return Position(min(following), _START, 0) if following else self.tail

    def _unconfirmed(self, position: Position) -> Position:
        while (settled := self._settled(position)) < self.tail:
            position = self._progress.next(settled)
            if position == settled:
                return position
        return self.tail

    def _with_content(self, gaps: Iterable[Stretch]) -> tuple[Stretch, ...]:
        """Return the gaps in which there is something: the last one, and those that do not lie between two segments."""
        return tuple((a, b) for a, b in gaps if b == END or self._settled(a) < b)

    def _count(self, stretches: Iterable[Stretch]) -> int:
        """Count the entries in stretches."""
        return sum(
            self._count_in(segment, max(a, Position(segment, _START, 0)), b)
            for a, b in stretches
            for segment in range(a.segment, min(b.segment, self.tail.segment) + 1)
            if segment in self._sizes
        )

    def _count_in(self, segment: int, begin: Position, end: Position) -> int:
        size = self._sizes[segment]
        if begin <= (segment, _START, 0) and end >= (segment, size, 0):
            return self._counts[segment]
        count = 0
        offset = begin.offset
        while offset < size and (segment, offset) <= end[:2]:
            header = layout.header(self._open(segment), offset)
            if header is None:
                break
            first = begin.skip if offset == begin.offset else 0
            count += (end.skip if (segment, offset) == end[:2] else header.entries) - first
            offset += header.size
        return count

    def _bytes(self) -> int:
        """Count the bytes that are not confirmed; a frame that is confirmed in part counts as a whole."""
        return sum(
            max(0, (b.offset if b.segment == segment else size) - (a.offset if a.segment == segment else _START))
            for a, b in self._progress.gaps
            for segment, size in self._sizes.items()
            if a.segment <= segment <= b.segment
        )

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
        self._used -= self._sizes[segment] - offset
        self._sizes[segment], self._counts[segment] = offset, whole
        self._entries -= lost

    async def confirm(self, parts: Sequence[Confirmed]) -> None:
        """Save the checkpoint, then delete the segments of which nothing is needed any more."""
        async with self._changing:
            gaps: Sequence[Stretch] = self._progress.gaps
            gone = 0
            for begin, end, entries in parts:
                found = overlap(gaps, begin, end)
                # Entries that were dropped while they were on their way are counted as dropped, and as confirmed.
                gone += entries if found == [(begin, end)] else self._count(found)
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
            if segment not in self._sizes or segment >= self.tail.segment or self._is_needed(segment):
                continue
            if self._reader is not None and self._reader[0] == segment:
                self._close_reader()
            self._path(segment).unlink(missing_ok=True)
            self._used -= self._sizes.pop(segment)
            del self._counts[segment]

    def _is_needed(self, segment: int) -> bool:
        end = Position(segment, self._sizes[segment], 0)
        return bool(overlap(self._progress.gaps, Position(segment, _START, 0), end))

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
        segment, offset, _ = begin
        size = self._sizes.get(segment, 0)
        while offset < size:
            header = layout.header(self._open(segment), offset)
            if header is None or header.stored_ms >= horizon_ms:
                break
            offset += header.size
        return self._progress.head if offset == begin.offset else Position(segment, offset, 0)

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
        head = self._unconfirmed(self.head)
        if head < self.tail:
            oldest = layout.header(self._open(head.segment), head.offset)
        disk = os.fstatvfs(self._directory_descriptor)
        return {
            "entries": self._entries,
            "bytes": self._bytes(),
            "max_bytes": self._options.max_bytes,
            "used_bytes": self._used,
            "free_bytes": disk.f_bavail * disk.f_frsize,
            "oldest_seconds": max(0, self._clock.now_ms() - oldest.stored_ms) / 1000 if oldest is not None else 0.0,
            "max_age": self._options.max_age,
            "confirmed_total": self._progress.confirmed,
            "dropped_total": {str(cause): count for cause, count in self._progress.dropped.items()},
            "appended_bytes": self._appended_bytes,
            "error": self._error or self._damage,
        }
