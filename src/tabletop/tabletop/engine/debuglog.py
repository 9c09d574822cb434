"""The model's debug log: every hook, its output and what charms log, kept in a database of its own."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

LEVELS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR")
_KEEP = 200_000
_TRIM_EVERY = 10_000


class DebugLog:
    """Lines with an id that grows. It survives a kill -9; a power cut may cost the last lines."""

    def __init__(self, path: Path) -> None:
        """Open the log, making it if it isn't there."""
        path.touch(0o600)
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS line (id INTEGER PRIMARY KEY, time REAL NOT NULL, entity TEXT NOT NULL,"
            " level INTEGER NOT NULL, module TEXT NOT NULL, message TEXT NOT NULL)"
        )
        self._closed = False

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
            cursor = self._db.execute(
                "INSERT INTO line (time, entity, level, module, message) VALUES (?, ?, ?, ?, ?)",
                (time.time(), entity, rank, module, message),
            )
            last = cursor.lastrowid or 0
            if last % _TRIM_EVERY == 0:
                self._db.execute("DELETE FROM line WHERE id <= ?", (last - _KEEP,))
            self._grown.notify_all()

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
