"""How much memory and processor time a machine may take, through its control group."""

import os
from dataclasses import dataclass
from pathlib import Path

from tabletop.cgroups import Hierarchies

_PERIOD_US = 100_000


@dataclass(frozen=True)
class Limits:
    """The most that a machine may take; None: no limit."""

    memory: int | None = None
    """Bytes."""
    cores: int | None = None

    def properties(self) -> list[str]:
        """As properties of a unit of systemd."""
        found: list[str] = []
        if self.memory is not None:
            found.append(f"--property=MemoryMax={self.memory}")
        if self.cores is not None:
            found.append(f"--property=CPUQuota={self.cores * 100}%")
        return found


def impose(hierarchies: Hierarchies, group: str, limits: Limits) -> list[str]:
    """Set the limits of a group that was made; return what could not be limited: ``memory``, ``cores``."""
    failed: list[str] = []
    for what, controller, files, value in (
        ("memory", "memory", ("memory.limit_in_bytes", "memory.max"), limits.memory),
        ("cores", "cpu", ("cpu.cfs_quota_us", "cpu.max"), limits.cores),
    ):
        if value is None:
            continue
        v1 = hierarchies.v1.get(controller)
        quota = value * _PERIOD_US if what == "cores" else value
        file = v1 / group / files[0] if v1 else hierarchies.unified / group / files[1]
        text = str(quota) if v1 or what == "memory" else f"{quota} {_PERIOD_US}"
        if not _write(file, text):
            failed.append(what)
    return failed


def unenforceable(hierarchies: Hierarchies) -> list[str]:
    """What the host's control groups can't limit, of ``memory`` and ``cores``, without making a group to find out."""
    lacking: list[str] = []
    for what, controller in (("memory", "memory"), ("cores", "cpu")):
        v1 = hierarchies.v1.get(controller)
        if v1 is not None:
            able = os.access(v1, os.W_OK) and not os.statvfs(v1).f_flag & os.ST_RDONLY
        else:
            try:
                able = controller in (hierarchies.unified / "cgroup.controllers").read_text().split()
            except OSError:
                able = False
        if not able:
            lacking.append(what)
    return lacking


def _write(file: Path, text: str) -> bool:
    try:
        file.write_text(text)
    except OSError:
        return False
    return True
