"""Mounts of the host, and removing directories that may have mounts below them."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tabletop.errors import TabletopError
from tabletop.programs import run, succeeds

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


@dataclass(frozen=True)
class Mount:
    """One line of ``/proc/self/mountinfo`` (proc(5))."""

    point: Path
    kind: str
    options: frozenset[str]


def parse_mountinfo(text: str) -> list[Mount]:
    """Read the mounts in the order in which they were made."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        for escape, character in _ESCAPES.items():
            point = point.replace(escape, character)
        kind, _, options = after.split()[:3]
        mounts.append(Mount(Path(point), kind, frozenset(options.split(","))))
    return mounts


def mounts_below(directory: Path) -> list[Mount]:
    """What is mounted on ``directory`` or below it, the last mounted first."""
    resolved = directory.resolve()
    mounts = parse_mountinfo(_MOUNTINFO.read_text())
    return [mount for mount in reversed(mounts) if mount.point.is_relative_to(resolved)]


def is_mounted(point: Path) -> bool:
    """Whether something is mounted on exactly this directory or file."""
    resolved = point.resolve()
    return any(mount.point == resolved for mount in mounts_below(resolved))


def mount_overlay(point: Path, *, lower: Path, upper: Path, work: Path) -> None:
    """Mount an overlay, making its directories.

    Raises:
        TabletopError: the kernel refuses.
    """
    for directory in (point, upper, work):
        directory.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={_escape(lower)},upperdir={_escape(upper)},workdir={_escape(work)}"
    run(["mount", "-t", "overlay", "tabletop", "-o", options, str(point)])


def _escape(path: Path) -> str:
    return str(path).replace("\\", r"\\").replace(":", r"\:").replace(",", r"\,")


def unmount_below(directory: Path) -> list[Path]:
    """Unmount all that is on ``directory`` and below it.

    Returns:
        The mount points, in the order in which they went.

    Raises:
        TabletopError: something is still mounted afterwards.
    """
    gone: list[Path] = []
    for mount in mounts_below(directory):
        # A file still open keeps a lazily detached mount alive only until it is closed.
        if succeeds(["umount", str(mount.point)]) or succeeds(["umount", "--lazy", str(mount.point)]):
            gone.append(mount.point)
    if left := mounts_below(directory):
        raise TabletopError(f"{left[0].point} can't be unmounted: end what uses it and try again.")
    return gone


def remove_tree(directory: Path) -> bool:
    """Remove a directory with all below it, after unmounting what is mounted there.

    Nothing is removed through a mount: what a machine had bound into it stays as it is.

    Returns:
        Whether there was anything to remove.
    """
    if not directory.is_dir():
        return False
    unmount_below(directory)
    for patience in (0.1, 0.5, None):
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return True
        except OSError:
            # A dying process may still write its last file here.
            if patience is None:
                raise
            time.sleep(patience)
        else:
            return True
    return True


def free_bytes(directory: Path) -> int:
    """Free space on the file system that holds ``directory``, or would hold it once made."""
    while not directory.exists():
        directory = directory.parent
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
