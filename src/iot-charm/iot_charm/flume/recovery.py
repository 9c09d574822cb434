"""Finishes files in HDFS that an agent left unfinished; runs beside the agent of each ``flume-hdfs`` unit.

Two things leave such files. An agent that was killed leaves the file that it had open under its name in use, which
readers pass over. An agent that lost the DataNodes in mid-write gives the file its final name although it could not
close it, and it may end in mid-batch.

Either is brought to an end the same way: HDFS takes the file from its writer (:meth:`Store.take`), the file is
cut behind its last whole unit (:mod:`iot_charm.flume.boundaries`), an empty one is deleted, and it gets its final
name. What is cut off was never acknowledged: the channel still has it and the sink writes it again.

A file in use is an orphan if its name carries this unit's name and another invocation of its service than the one
that is running, or if it is older than any file that the agent should have open: the agent gives up on closing and
renaming a file after some tries. The agent writes other files meanwhile, so it need not wait for this.
"""

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from iot_charm.flume.boundaries import ends_whole, scanner_for
from iot_charm.flume.hdfs import FILE_PREFIX, IN_USE_SUFFIX, SMOKE_TEST, in_use_prefix
from iot_charm.flume.store import Entry, Store, StoreError

logger = logging.getLogger(__name__)


@dataclass
class Pass:
    """What one pass over the directories did."""

    published: int = 0
    """Orphans that have their final names now."""
    cut: int = 0
    """Files that lost a torn end."""
    deleted: int = 0
    """Files that held nothing whole."""
    pending: list[str] = field(default_factory=list[str])
    """Files to come back to: HDFS has not closed them yet, or did not answer."""


class Recovery:
    """Looks after the files of one unit.

    Args:
        store: HDFS.
        root: the directory of the event directories, as ``/user/flume``.
        unit: the unit's name as a file name.
        live: returns the invocation of the agent that may be writing; empty if there is none.
        open_for_s: longest time that a file may be open; finished files that were last changed that long before
            ``since`` are known to be whole.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        store: Store,
        *,
        root: str,
        unit: str,
        live: Callable[[], str],
        open_for_s: float,
        clock: Callable[[], float] = time.time,
    ):
        self._store = store
        self._root = root
        self._orphan = re.compile(
            rf"{re.escape(in_use_prefix(unit))}(?P<invocation>[^.]*)\.(?P<name>{FILE_PREFIX}\..*){IN_USE_SUFFIX}"
        )
        self._live = live
        self._clock = clock
        self._open_for_ms = int(open_for_s * 1000)
        self._seen: dict[str, int] = {}
        """Directory -> its time of change when nothing in it was left to do."""
        self._settled: dict[str, set[str]] = {}
        """Directory -> names of finished files that are known to be whole."""

    def run(self, since: int) -> Pass:
        """Look once at every directory that changed.

        Args:
            since: finished files need no look if they were last changed, less ``open_for_s``, before this time,
                ms since the epoch.

        Raises:
            StoreError: HDFS does not answer.
        """
        done = Pass()
        for events in self._store.list(self._root):
            if events.is_directory and events.name != SMOKE_TEST:
                for day in self._store.list(events.path):
                    if day.is_directory and self._seen.get(day.path) != day.modified:
                        self._look_into(day, since - self._open_for_ms, done)
        return done

    def _look_into(self, day: Entry, since: int, done: Pass) -> None:
        entries = self._store.list(day.path)
        # Asked after the listing: whatever of another run is in the listing has lost its writer.
        live = self._live()
        settled = self._settled.get(day.path, set())
        now_settled: set[str] = set()
        busy = False
        for entry in entries:
            if entry.is_directory:
                continue
            orphan = self._orphan.fullmatch(entry.name)
            if orphan is not None:
                is_young = entry.modified >= self._clock() * 1000 - self._open_for_ms
                is_live = orphan["invocation"] == live and is_young
                if not is_live and self._finish(entry.path, f"{day.path}/{orphan['name']}", done):
                    continue
            elif not entry.name.startswith(f"{FILE_PREFIX}.") or entry.modified < since:
                continue
            elif entry.name in settled or self._finish(entry.path, entry.path, done):
                now_settled.add(entry.name)
                continue
            busy = True
        self._settled[day.path] = now_settled
        if not now_settled:
            del self._settled[day.path]
        if busy:
            # An open file gets its final name later, which changes the directory, but losing its writer does not.
            self._seen.pop(day.path, None)
        else:
            self._seen[day.path] = day.modified

    def _finish(self, path: str, final: str, done: Pass) -> bool:
        """Close, cut and name a file; returns False if it needs another look."""
        try:
            if not self._store.take(path):
                done.pending.append(path)
                return False
            length = self._store.length(path)
            if length and not self._is_whole(path, final, length):
                length = self._cut(path, final, length, done)
                if length and not self._store.take(path):
                    done.pending.append(path)
                    return False
            if not length:
                logger.info("deleting %s: it holds no whole batch", path)
                self._store.delete(path)
                done.deleted += 1
            elif path != final:
                self._publish(path, final)
                done.published += 1
        except StoreError as error:
            logger.warning("not finished yet: %s", error)
            done.pending.append(path)
            return False
        return True

    def _is_whole(self, path: str, name: str, length: int) -> bool:
        return ends_whole(name, length, lambda offset, size: self._store.read(path, offset, size))

    def _cut(self, path: str, name: str, length: int, done: Pass) -> int:
        """Cut a file behind its last whole unit; returns the length that is left, and leaves it to a caller at 0."""
        scanner = scanner_for(name)
        for chunk in self._store.chunks(path):
            scanner.feed(chunk)
        if 0 < scanner.whole < length:
            logger.info("cutting %s from %d to %d bytes: it ends in mid-batch", path, length, scanner.whole)
            self._store.truncate(path, scanner.whole)
            done.cut += 1
        return scanner.whole

    def _publish(self, path: str, final: str) -> None:
        directory, _, name = final.rpartition("/")
        match = re.fullmatch(rf"{FILE_PREFIX}\.(\d+)(.*)", name)
        while match and self._store.exists(final):
            # Another unit closed a file that it had begun in the same millisecond.
            match = re.fullmatch(rf"{FILE_PREFIX}\.(\d+)(.*)", f"{FILE_PREFIX}.{int(match[1]) + 1}{match[2]}")
            if match:
                final = f"{directory}/{match[0]}"
        logger.info("publishing %s as %s", path, final)
        self._store.rename(path, final)
