"""What the daemons use: CPU by process group, memory."""

import os
from pathlib import Path

from daemons import Daemon

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(daemon: Daemon) -> float:
    """Return the CPU seconds of a daemon with all its processes: each has a session of its own."""
    assert daemon.process is not None
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == daemon.process.pid:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS


def rss_mb(daemon: Daemon) -> float:
    """Return a daemon's resident memory in MB."""
    return _status(daemon, "VmRSS")


def peak_mb(daemon: Daemon) -> float:
    """Return the most that it was since :func:`forget_peak`."""
    return _status(daemon, "VmHWM")


def forget_peak(daemon: Daemon) -> None:
    """Begin to measure the peak anew (proc(5), clear_refs)."""
    assert daemon.process is not None
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")


def _status(daemon: Daemon, field: str) -> float:
    assert daemon.process is not None
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(field)
