"""The desk's book: commands and their steps, in one SQLite file.

Each entry is on disk when its method returns (WAL, ``synchronous=FULL``). The methods block for as long as the disk
takes; the desk calls them in a thread of their own.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import orjson

from iot_gateway.desk.command import Command, State, Step
from iot_gateway.errors import OutboxUnavailableError

KEPT = 10_000
"""Commands that have come to their end and are still listed."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commands (
    id TEXT PRIMARY KEY, node TEXT NOT NULL, target TEXT NOT NULL, value TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, origin TEXT NOT NULL, ended INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL REFERENCES commands ON DELETE CASCADE,
    time REAL NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS steps_of ON steps (id);
CREATE INDEX IF NOT EXISTS untold ON steps (number) WHERE told = 0;
CREATE INDEX IF NOT EXISTS open ON commands (created) WHERE ended = 0;
CREATE INDEX IF NOT EXISTS ended ON commands (created DESC, id) WHERE ended = 1;
"""


class Book:
    """The commands of one gateway."""

    def __init__(self, path: Path, *, kept: int = KEPT):
        """Open the book, a new one where there is none.

        Raises:
            OutboxUnavailableError: the file can't be used.
        """
        self._kept = kept
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            # Exclusive: otherwise SQLite maps a file to share with other processes, and writing into a hole of it on a
            # full disk ends the process (SIGBUS, seen on ext4 with blocks of 1 KiB).
            self._database.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;")
            self._database.executescript("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;" + _SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutboxUnavailableError(f"the commands in {path} can't be opened: {error}") from error

    def add(self, command: Command) -> None:
        """Enter a new command with its steps."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO commands (id, node, target, value, created, expires, origin) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    command.id,
                    command.node,
                    command.target,
                    orjson.dumps(command.value).decode(),
                    command.created,
                    command.expires,
                    command.origin,
                ),
            )
            for step in command.steps:
                self._enter(command.id, step)

    def step(self, identifier: str, step: Step) -> None:
        """Enter a change of a command's state; of what ended before, the oldest goes when there is too much."""
        with self._transaction():
            self._enter(identifier, step)
            if step.state.is_final:
                self._database.execute("UPDATE commands SET ended = 1 WHERE id = ?", (identifier,))
                self._database.execute(
                    "DELETE FROM commands WHERE ended = 1 AND id NOT IN (SELECT id FROM steps WHERE told = 0) "
                    "AND id IN (SELECT id FROM commands WHERE ended = 1 ORDER BY created DESC, id LIMIT -1 OFFSET ?)",
                    (self._kept,),
                )

    def _enter(self, identifier: str, step: Step) -> None:
        self._database.execute(
            "INSERT INTO steps (id, time, state, reason) VALUES (?, ?, ?, ?)",
            (identifier, step.time, str(step.state), step.reason),
        )

    def find(self, identifier: str) -> Command | None:
        """Return a command."""
        return next(iter(self._read("WHERE id = ?", (identifier,))), None)

    def open(self) -> list[Command]:
        """Return the commands that have not come to their end, the oldest first."""
        return self._read("WHERE ended = 0 ORDER BY created, id", ())

    def latest(self, *, node: str = "", state: str = "", limit: int = 100) -> list[Command]:
        """Return commands, the newest first.

        Args:
            node: only those to this node.
            state: only those in this state.
            limit: at most so many.
        """
        last = "(SELECT state FROM steps WHERE steps.id = commands.id ORDER BY number DESC LIMIT 1)"
        return self._read(
            f"WHERE (? = '' OR node = ?) AND (? = '' OR {last} = ?) ORDER BY created DESC, id LIMIT ?",
            (node, node, state, state, limit),
        )

    def untold(self, limit: int) -> list[tuple[int, Command, Step]]:
        """Return steps that the chain has not been told of, with their numbers and commands, in their order."""
        rows = self._database.execute(
            "SELECT number, id, time, state, reason FROM steps WHERE told = 0 ORDER BY number LIMIT ?", (limit,)
        ).fetchall()
        found: list[tuple[int, Command, Step]] = []
        for number, identifier, time, state, reason in rows:
            command = self.find(identifier)
            if command is not None:
                found.append((number, command, Step(time, State(state), reason)))
        return found

    def count_untold(self) -> int:
        """Return how many steps the chain has not been told of."""
        return self._database.execute("SELECT count(*) FROM steps WHERE told = 0").fetchone()[0]

    def told(self, numbers: Iterable[int]) -> None:
        """Note that the chain has been told of these steps."""
        with self._transaction():
            self._database.executemany("UPDATE steps SET told = 1 WHERE number = ?", [(number,) for number in numbers])

    def counts(self) -> dict[str, int]:
        """Return how many commands are in each state."""
        rows = self._database.execute(
            "SELECT state, count(*) FROM steps WHERE number IN (SELECT max(number) FROM steps GROUP BY id) "
            "GROUP BY state"
        )
        found = dict(rows.fetchall())
        return {str(state): found.get(str(state), 0) for state in State}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self, clause: str, parameters: tuple[str | int, ...]) -> list[Command]:
        columns = "id, node, target, value, created, expires, origin"
        rows = self._database.execute(f"SELECT {columns} FROM commands {clause}", parameters).fetchall()  # noqa: S608 - clauses are this module's
        return [
            Command(
                identifier, node, target, orjson.loads(value), created, expires, origin, tuple(self._steps(identifier))
            )
            for identifier, node, target, value, created, expires, origin in rows
        ]

    def _steps(self, identifier: str) -> list[Step]:
        rows = self._database.execute(
            "SELECT time, state, reason FROM steps WHERE id = ? ORDER BY number", (identifier,)
        )
        return [Step(time, State(state), reason) for time, state, reason in rows]

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database)


class _Transaction:
    def __init__(self, database: sqlite3.Connection):
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")
