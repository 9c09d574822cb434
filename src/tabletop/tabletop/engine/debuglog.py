"""The model's debug log: every hook, its output and what charms log, kept in a database of its own."""

import logging
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from tabletop.engine.faults import explain, is_damage

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
_KEEP = 200_000
_TRIM_EVERY = 10_000
logger = logging.getLogger(__name__)


class DebugLog:
    """Lines with an id that grows. It survives a kill -9; a power cut may cost the last lines."""

    def __init__(self, path: Path) -> None:
        """Open the log, making it if it isn't there; a damaged one is put aside, for no model hangs on its log.

        Raises:
            StateError: it can't be read or written, though it isn't damaged.
        """
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        try:
            self._db = _open(path)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise explain(path, error) or error from error
            aside = path.with_name(f"{path.name}.damaged")
            logger.warning("%s can't be read (%s); it is now %s, and a new one is begun", path, error, aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            path.replace(aside)
            self._db = _open(path)
        self._closed = False
        self._lost = 0

    def close(self) -> None:
        """Close the log; later lines are dropped."""
        with self._lock:
            self._closed = True
            self._db.close()
            self._grown.notify_all()

    def add(self, entity: str, level: str, module: str, message: str) -> None:
        """Append a line. `entity` is `<app>/<n>`, `machine-<n>` or `controller`."""
        rank = LEVELS.index(level) if level in LEVELS else LEVELS.index("INFO")
        with self._lock:
            if self._closed:
                return
            try:
                last = self._insert(entity, rank, module, message)
                if self._lost:
                    lost, self._lost = self._lost, 0
                    warning = LEVELS.index("WARNING")
                    self._insert("controller", warning, "tabletop.log", f"{lost} lines could not be written before")
                if last % _TRIM_EVERY == 0:
                    self._db.execute("DELETE FROM line WHERE id <= ?", (last - _KEEP,))
            except sqlite3.Error as error:
                # A full disk, most likely. Whoever logs has better to do than to end of it.
                if not self._lost:
                    logger.warning("the debug log can't be written, lines are lost: %s", error)
                self._lost += 1
            self._grown.notify_all()

    def _insert(self, entity: str, rank: int, module: str, message: str) -> int:
        cursor = self._db.execute(
            "INSERT INTO line (time, entity, level, module, message) VALUES (?, ?, ?, ?, ?)",
            (time.time(), entity, rank, module, message),
        )
        return cursor.lastrowid or 0

    def read(
        self,
        *,
        since_id: int = 0,
        limit: int = 0,
        entity: str | None = None,
        level: str | None = None,
        wait: float = 0,
    ) -> list[dict[str, Any]]:
        """Return lines after an id, oldest first.

        With a `limit` and no `since_id` they are the last ones. With `wait`, wait so many seconds for one.
        `entity` is one as in `add`, a unit as `<app>-<n>`, or an application.
        """
        rank = LEVELS.index(level.upper()) if level and level.upper() in LEVELS else 0
        deadline = time.monotonic() + wait
        with self._lock:
            while not self._closed:
                rows = self._select(since_id, limit, entity, rank)
                left = deadline - time.monotonic()
                if rows or left <= 0:
                    return [{**dict(row), "level": LEVELS[row["level"]]} for row in rows]
                self._grown.wait(left)
        return []

    def _select(self, since_id: int, limit: int, entity: str | None, rank: int) -> list[sqlite3.Row]:
        order = "DESC" if limit and not since_id else "ASC"
        names = "1" if entity is None else "(entity = ?1 OR replace(entity, '/', '-') = ?1 OR entity GLOB ?1 || '/*')"
        rows = self._db.execute(
            f"SELECT * FROM line WHERE {names} AND id > ?2 AND level >= ?3 ORDER BY id {order} LIMIT ?4",  # noqa: S608
            (entity, since_id, rank, limit or 10_000),
        ).fetchall()
        return rows[::-1] if order == "DESC" else rows


def _open(path: Path) -> sqlite3.Connection:
    path.touch(0o600)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.row_factory = sqlite3.Row
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "CREATE TABLE IF NOT EXISTS line (id INTEGER PRIMARY KEY, time REAL NOT NULL, entity TEXT NOT NULL,"
            " level INTEGER NOT NULL, module TEXT NOT NULL, message TEXT NOT NULL)"
        )
    except sqlite3.Error:
        database.close()
        raise
    return database
