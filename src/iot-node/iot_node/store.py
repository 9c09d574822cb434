"""What a node keeps on disk: packs that the gateway has not acknowledged, and how far it has counted.

Both are written in one transaction, and that transaction is on disk before the pack is sent: after a crash or a power
cut the node neither uses a sequence number twice nor leaves one out.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from iot_node.errors import StoreError

logger = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pack (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counter (sensor TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
"""


class Pack(NamedTuple):
    """A pack that is not acknowledged yet."""

    id: int
    body: bytes


class Store:
    """An SQLite file, for use by one thread.

    ``max_bytes`` bounds the packs' bodies together (the file takes up to a third more); when a new pack does not fit,
    the oldest are dropped, which shows later as a gap in the sequence numbers.
    """

    def __init__(self, path: Path, max_bytes: int):
        self._path = path
        self._max_bytes = max_bytes
        self.dropped = 0
        """Packs dropped since the store was opened."""
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            self.count, self.bytes = self._database.execute(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM pack"
            ).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"{path} can't be used ({error}); move it away to begin anew") from error

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._database.close()

    def add(self, sensors: Sequence[str], write: Callable[[Mapping[str, int]], bytes]) -> None:
        """Count each of ``sensors`` on by one and keep the pack that ``write`` makes with these numbers.

        Raises:
            StoreError: it can't be written; nothing is counted then.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                numbers = {sensor: self._next(sensor) for sensor in sensors}
                body = write(numbers)
                dropped, freed = self._make_room(len(body))
                self._database.execute("INSERT INTO pack (body) VALUES (?)", (body,))
                self._database.executemany(
                    "INSERT OR REPLACE INTO counter VALUES (?, ?)",
                    [(sensor, number + 1) for sensor, number in numbers.items()],
                )
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"can't write {self._path}: {error}") from error
        if dropped and not self.dropped:
            logger.warning("the spool is full (%d bytes): dropping the oldest packs", self._max_bytes)
        self.dropped += dropped
        self.count += 1 - dropped
        self.bytes += len(body) - freed

    def after(self, id_: int, limit: int) -> list[Pack]:
        """Return up to ``limit`` packs that were added after the pack ``id_``, the oldest first.

        Raises:
            StoreError: it can't be read.
        """
        try:
            rows = self._database.execute("SELECT id, body FROM pack WHERE id > ? ORDER BY id LIMIT ?", (id_, limit))
            return [Pack(*row) for row in rows]
        except sqlite3.Error as error:
            raise StoreError(f"can't read {self._path}: {error}") from error

    def remove(self, ids: Sequence[int]) -> None:
        """Forget packs: the gateway has them. One that was dropped in the meantime does no harm.

        Raises:
            StoreError: it can't be written.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for id_ in ids:
                row = self._database.execute("DELETE FROM pack WHERE id = ? RETURNING length(body)", (id_,)).fetchone()
                if row:
                    self.count -= 1
                    self.bytes -= row[0]
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"can't write {self._path}: {error}") from error

    def _next(self, sensor: str) -> int:
        row = self._database.execute("SELECT next FROM counter WHERE sensor = ?", (sensor,)).fetchone()
        return row[0] if row else 0

    def _make_room(self, size: int) -> tuple[int, int]:
        """Drop the oldest packs until ``size`` more bytes fit; return how many packs and bytes went."""
        dropped = freed = 0
        while self.bytes - freed + size > self._max_bytes:
            oldest = self._database.execute("SELECT id, length(body) FROM pack ORDER BY id LIMIT 1").fetchone()
            if oldest is None:
                break
            self._database.execute("DELETE FROM pack WHERE id = ?", oldest[:1])
            dropped, freed = dropped + 1, freed + oldest[1]
        return dropped, freed
