"""Locks between processes and threads."""

import contextlib
import fcntl
import os
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
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:
            # The directory was removed by whoever removes all of it.
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                    waiting = None
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file.fileno(), path):
                yield file.fileno()
                return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at a path; it may have been removed while its lock was waited for."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
