"""Folders and processes that tests make, and their end: whether a test passes, fails or is broken off."""

import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MARK = "TABLETOP_TEST_MACHINE"
"""In the environment of what runs in a machine that is a folder: that folder."""


@contextmanager
def short_directory() -> Generator[Path]:
    """Make a folder whose name is short, for an address of a socket has at most 107 bytes; it goes with all in it."""
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir="/var/tmp"))
    try:
        yield directory
    finally:
        end_processes(directory)
        shutil.rmtree(directory)


def end_processes(folder: Path) -> int:
    """Kill what runs in a machine, or in all those below a folder; return how many processes there were."""
    ended = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            machine = _machine(entry)
            if machine is not None and machine.is_relative_to(folder):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return ended


def _machine(process: Path) -> Path | None:
    for variable in (process / "environ").read_bytes().split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == MARK.encode():
            return Path(os.fsdecode(value))
    return None
