"""Locks between processes and threads."""

import contextlib
import fcntl
from collections.abc import Generator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Generator[int]:
    """Hold an exclusive lock on a file, made if need be, waiting for whoever has it.

    The kernel drops the lock when the last process that has the file open is gone, so a killed holder blocks nobody.

    Yields:
        The descriptor that holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
