"""What to tell an operator when a database of the state can't be read or written."""

import sqlite3
from pathlib import Path

from tabletop.errors import TabletopError

_SPACE = {sqlite3.SQLITE_FULL}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_ACCESS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}


class StateError(TabletopError):
    """A model's state can't be read or written; what was to be written is not, as a whole."""


class ClosedError(TabletopError):
    """A model's state is closed, because the model was removed or tabletop is ending."""


def explain(path: Path, error: sqlite3.Error) -> StateError | None:
    """Return what an error of SQLite means for a state file; None if it is a mistake of our own.

    Args:
        path: the database.
        error: as SQLite raised it, by its result code (https://www.sqlite.org/rescode.html).
    """
    code = _code(error)
    if code in _SPACE:
        return StateError(f"The disk of {path} is full: free some space and try again. Nothing of this was written.")
    if code in _DAMAGE:
        return StateError(damaged(path, str(error)))
    if code in _ACCESS:
        return StateError(f"{path} can't be written or read ({error}): see to its disk and try again.")
    return None


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error of SQLite means that the file holds no database, or one that is broken."""
    return _code(error) in _DAMAGE


def _code(error: sqlite3.Error) -> int:
    # The lower byte is the code; what is above tells kinds of it apart.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def damaged(path: Path, why: str) -> str:
    """Return what to say of a state file that can't be made sense of."""
    return f"{path} is damaged ({why}): put back a copy of it, or remove the model with `tabletop destroy-model`."
