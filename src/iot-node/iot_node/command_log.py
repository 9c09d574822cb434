"""What a node remembers of commands, on disk: so none is done twice, and none is forgotten half done."""

import json
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from iot_node.actuators import Value
from iot_node.errors import StoreError

KEPT: Final = 1000
"""Commands that have come to their end and are still known by their identifiers; the gateway knows of that end."""
UNTOLD_KEPT: Final = 10_000
"""The same, where the gateway does not know of it yet: as many as it may have under way in all."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS command (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, target TEXT NOT NULL, value TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS untold ON command (number) WHERE told = 0;
CREATE TABLE IF NOT EXISTS actuator (name TEXT PRIMARY KEY, position REAL NOT NULL) STRICT, WITHOUT ROWID;
"""
_COLUMNS = "number, id, target, value, state, reason"


class Entry(NamedTuple):
    """A command as far as the node has come with it."""

    number: int
    id: str
    target: str
    value: Value
    state: str
    """``acknowledged``, ``applied``, ``refused`` or ``failed``."""
    reason: str


class CommandLog:
    """An SQLite file, for use by one thread. What is noted is on disk when the method returns."""

    def __init__(self, path: Path, *, kept: int = KEPT, untold_kept: int = UNTOLD_KEPT):
        self._path = path
        self._kept = kept
        self._untold_kept = untold_kept
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _SCHEMA)
        except sqlite3.Error as error:
            raise StoreError(f"{path} can't be used ({error}); move it away to begin anew") from error

    def __enter__(self) -> Self:
        """Return the log."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._database.close()

    def knows(self, identifier: str) -> bool:
        """Tell whether a command came before; if so, its state is to be told again.

        Raises:
            StoreError: the disk does not work; so for all that follow.
        """
        return bool(self._do("UPDATE command SET told = 0 WHERE id = ?", (identifier,)).rowcount)

    def add(self, identifier: str, target: str, value: Value, state: str, reason: str = "") -> Entry:
        """Note a new command; of those at their end the oldest go when there are too many.

        Those that are under way stay, one for each actuator.
        """
        cursor = self._do(
            "INSERT INTO command (id, target, value, state, reason) VALUES (?, ?, ?, ?, ?)",
            (identifier, target, json.dumps(value), state, reason),
        )
        number = cursor.lastrowid or 0
        self._do(
            "DELETE FROM command WHERE number <= ? AND state != 'acknowledged' AND (told = 1 OR number <= ?)",
            (number - self._kept, number - self._untold_kept),
        )
        return Entry(number, identifier, target, value, state, reason)

    def end(self, number: int, state: str, reason: str) -> None:
        """Note that a command has come to its end."""
        self._do("UPDATE command SET state = ?, reason = ?, told = 0 WHERE number = ?", (state, reason, number))

    def begun(self) -> list[Entry]:
        """Return the commands that are acknowledged and not at their end, in their order."""
        return self._entries("WHERE state = 'acknowledged' ORDER BY number")

    def untold(self, limit: int) -> list[Entry]:
        """Return commands whose state the gateway does not know, in their order."""
        return self._entries(f"WHERE told = 0 ORDER BY number LIMIT {limit:d}")

    def told(self, number: int, state: str) -> None:
        """Note that the gateway knows this state of a command."""
        self._do("UPDATE command SET told = 1 WHERE number = ? AND state = ?", (number, state))

    def positions(self) -> dict[str, float]:
        """Return where the actuators were."""
        return dict(self._do("SELECT name, position FROM actuator").fetchall())

    def keep(self, name: str, position: float) -> None:
        """Note where an actuator is."""
        self._do("INSERT OR REPLACE INTO actuator VALUES (?, ?)", (name, position))

    def _entries(self, clause: str) -> list[Entry]:
        rows = self._do(f"SELECT {_COLUMNS} FROM command {clause}").fetchall()  # noqa: S608 - clauses are this module's
        return [
            Entry(number, identifier, target, json.loads(value), state, reason)
            for number, identifier, target, value, state, reason in rows
        ]

    def _do(self, statement: str, parameters: tuple[str | int | float, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, parameters)
        except sqlite3.Error as error:
            raise StoreError(f"can't use {self._path}: {error}") from error
