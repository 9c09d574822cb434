"""The durable state of one model: an SQLite database that a kill -9 or a power cut leaves whole."""

import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from tabletop.engine.faults import ClosedError, StateError, damaged, explain

_SCHEMA = resources.files("tabletop.engine").joinpath("schema.sql").read_text()
VERSION = 4
"""Of the schema, kept in the database; 0 is what the first builds wrote."""

_FROM_0 = """
CREATE TABLE IF NOT EXISTS unit_sequence (application TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO unit_sequence SELECT application, max(number) + 1 FROM unit GROUP BY application;
"""
_FROM_1 = """
ALTER TABLE task ADD COLUMN operation INTEGER NOT NULL DEFAULT 0;
UPDATE task SET operation = id;
"""
_FROM_2 = """
ALTER TABLE model ADD COLUMN constraints TEXT NOT NULL DEFAULT '{}';
ALTER TABLE application ADD COLUMN storage TEXT NOT NULL DEFAULT '{}';
ALTER TABLE machine ADD COLUMN incarnation TEXT NOT NULL DEFAULT '';
ALTER TABLE machine ADD COLUMN off_until REAL;
ALTER TABLE unit ADD COLUMN principal TEXT;
ALTER TABLE storage RENAME TO storage_1;
CREATE TABLE storage (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT REFERENCES unit (name),
    location TEXT NOT NULL,
    since REAL NOT NULL,
    size INTEGER NOT NULL DEFAULT 1024,
    life TEXT NOT NULL DEFAULT 'alive',
    read_only INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO storage (id, name, unit, location, since) SELECT id, name, unit, location, since FROM storage_1;
DROP TABLE storage_1;
"""
_FROM_3 = """
CREATE TABLE IF NOT EXISTS leader_settings (
    application TEXT PRIMARY KEY REFERENCES application (name) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    data TEXT NOT NULL
) STRICT;
"""
_MIGRATIONS = (_FROM_0, _FROM_1, _FROM_2, _FROM_3)
"""What leads from each version to the next."""


class Store:
    """One connection under one lock.

    Readers hold the lock too, so what they see is consistent; queries take microseconds. Threads that wait for the
    state to change wait on `wait_for_change`, which a committed `write` ends.
    """

    def __init__(self, path: Path) -> None:
        """Open the database, making it with its tables (mode 0600) if it isn't there.

        Raises:
            StateError: it is damaged, of a newer tabletop, or can't be read or written.
        """
        fresh = not path.exists()
        if fresh:
            path.touch(0o600)
        self._path = path
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._generation = 0
        self._depth = 0
        self._closed = False
        self._after: list[Callable[[], object]] = []
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        try:
            with self._explaining():
                self._open(path, fresh=fresh)
        except BaseException:
            self._db.close()
            raise

    def _open(self, path: Path, *, fresh: bool) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if fresh:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'model'").fetchone() is None:
            raise StateError(damaged(path, "it holds no model"))
        self._migrate(path)

    @contextmanager
    def _explaining(self) -> Generator[None]:
        """Raise what SQLite raises as what it means, where it is not a mistake of our own."""
        try:
            yield
        except sqlite3.Error as error:
            if self._closed:
                name = self._path.parent.name
                raise ClosedError(f"model {name} is closed: it was removed, or tabletop is ending") from error
            fault = explain(self._path, error)
            if fault is None:
                raise
            raise fault from error

    def _migrate(self, path: Path) -> None:
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StateError(f"{path}: was written by a newer tabletop; use that one, or destroy the model with it")
        steps = _MIGRATIONS[version:]
        if steps:
            self._db.executescript(f"BEGIN; {' '.join(steps)} PRAGMA user_version = {VERSION}; COMMIT;")

    def close(self) -> None:
        """Close the database; whoever uses it later gets a `ClosedError`."""
        with self._lock:
            self._closed = True
            self._db.close()

    @contextmanager
    def read(self) -> Generator[None]:
        """Hold the state still while reading it in several steps."""
        with self._lock:
            yield

    @contextmanager
    def write(self, *, wake: bool = True) -> Generator[None]:
        """Change the state in one durable step, or not at all if the block raises.

        Blocks nest; the outermost one commits. `wake` False is for changes that no agent acts on.
        """
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            with self._explaining():
                self._db.execute("BEGIN IMMEDIATE")
            self._depth = 1
            self._after = []
            try:
                yield
                with self._explaining():
                    self._db.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite may have rolled it back already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0
            after, self._after = self._after, []
            if wake:
                self.notify()
        for do in after:
            do()

    def after_commit(self, do: Callable[[], object]) -> None:
        """Have something done, which must not raise, once the present `write` is durable; never if it comes to nothing.

        It may take long: the state isn't held meanwhile. A power cut may come in between.
        """
        self._after.append(do)

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        with self._lock:
            self._generation += 1
            self._changed.notify_all()

    @property
    def generation(self) -> int:
        """A number that grows with each change that wakes."""
        with self._lock:
            return self._generation

    def wait_for_change(self, seen: int, timeout: float | None) -> int:
        """Wait until the generation differs from the one seen, or for `timeout` seconds; return the present one."""
        with self._lock:
            self._changed.wait_for(lambda: self._generation != seen, timeout)
            return self._generation

    def execute(self, sql: str, *args: object) -> int:
        """Run a statement inside `write`; return how many rows it touched."""
        with self._lock, self._explaining():
            return self._db.execute(sql, args).rowcount

    def all(self, sql: str, *args: object) -> Sequence[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock, self._explaining():
            return self._db.execute(sql, args).fetchall()

    def one(self, sql: str, *args: object) -> sqlite3.Row | None:
        """Return the first row of a query, if there is one."""
        with self._lock, self._explaining():
            row: sqlite3.Row | None = self._db.execute(sql, args).fetchone()
            return row

    def value(self, sql: str, *args: object) -> Any:
        """Return the first column of the first row of a query, or None."""
        row = self.one(sql, *args)
        return None if row is None else row[0]

    def next_number(self, counter: str) -> int:
        """Take the next number of one of the model's counters; inside `write`."""
        number: int = self.value(f"SELECT {counter} FROM model")  # noqa: S608 - a column's name, from our own code
        self.execute(f"UPDATE model SET {counter} = {counter} + 1")  # noqa: S608
        return number
