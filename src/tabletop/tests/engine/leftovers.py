"""Folders and processes that tests make, and their end: whether a test passes, fails or is broken off."""

import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "TABLETOP_TEST_MACHINE"
"""In the environment of what runs in a machine that is a folder: that folder."""


@contextmanager
def short_directory() -> Generator[Path]:
    """Make a folder whose name is short, for an address of a socket has at most 107 bytes; it goes with all in it."""
    directory = Path(tempfile.mkdtemp(prefix="tt-", dir=_quickest()))
    try:
        yield directory
    finally:
        end_processes(directory)
        shutil.rmtree(directory)


def _quickest() -> str:
    """Return memory where the host lets programs run from it and it has room: each commit of a model waits for a disk.

    Nothing is proved less by that: processes are killed here, and none of the tests cuts the power.
    """
    memory = "/dev/shm"
    with suppress(FileNotFoundError):
        found = os.statvfs(memory)
        if not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize > 1 << 30:
            return memory
    return "/var/tmp"


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
