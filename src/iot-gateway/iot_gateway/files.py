"""Files that survive a power cut: written whole, or as they were before."""

import os
from pathlib import Path

MODE = 0o640


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, and its directory where there is none, so that a power cut leaves the former one or this one.

    Raises:
        OSError: it can't be written; the former one may be there still.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make durable which files there are in a directory.

    Raises:
        OSError: the disk is faulty.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, in as many pieces as the system takes it.

    Raises:
        OSError: it can't be written; a part of it may be.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
