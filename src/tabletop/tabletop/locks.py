"""Locks between processes and threads."""

import contextlib
import fcntl
from collections.abc import Callable, Generator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Generator[int]:
    """Hold an exclusive lock on a file, made if need be, waiting for whoever has it.

    The kernel drops the lock when the last process that has the file open is gone, so a killed holder blocks nobody.

    Args:
        path: the file.
        waiting: called once if someone else has the lock.

    Yields:
        The descriptor that holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
