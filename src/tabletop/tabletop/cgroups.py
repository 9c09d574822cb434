"""Control groups: each machine has its own, so that all it runs can be found, measured and ended."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tabletop.errors import TabletopError
from tabletop.mounts import parse_mountinfo

# On a host with version 1 hierarchies these carry the accounts; the others (cpuset, devices, freezer) need
# settings before they take a process, and tabletop has no use for them.
_V1_CONTROLLERS = frozenset({"memory", "cpu", "cpuacct", "pids", "blkio", "name=systemd"})


@dataclass(frozen=True)
class Hierarchies:
    """Where the host has its control groups mounted."""

    unified: Path
    """Version 2; alone on a current host, beside version 1 on a hybrid one."""
    v1: dict[str, Path]
    """Controller, or ``name=systemd``, to mount point."""

    @classmethod
    def of_host(cls, mountinfo: str | None = None) -> "Hierarchies":
        """Look at what is mounted.

        Raises:
            TabletopError: there is no version 2 hierarchy.
        """
        text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
        unified: Path | None = None
        v1: dict[str, Path] = {}
        for mount in parse_mountinfo(text):
            if mount.kind == "cgroup2" and unified is None:
                unified = mount.point
            elif mount.kind == "cgroup":
                for controller in mount.options & _V1_CONTROLLERS:
                    v1.setdefault(controller, mount.point)
        if unified is None:
            raise TabletopError(
                "The host has no version 2 control groups (cgroup2) mounted: boot it with its distribution's defaults."
            )
        return cls(unified, v1)

    def roots(self) -> list[Path]:
        """Every mount point once."""
        return list(dict.fromkeys([self.unified, *self.v1.values()]))

    def make(self, group: str) -> list[Path]:
        """Make a group, such as ``tabletop/machine``, in every hierarchy.

        Returns:
            Its directories.
        """
        directories: list[Path] = []
        for root in self.roots():
            directory = root / group
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError:
                # On a host that is itself a container, version 1 hierarchies may be read-only.
                if root == self.unified:
                    raise
            else:
                directories.append(directory)
        if not self.v1:
            for parent in reversed(list(Path(group).parents)):
                with contextlib.suppress(OSError):
                    (self.unified / parent / "cgroup.subtree_control").write_text("+memory +pids +cpu")
        return directories

    def remove(self, group: str) -> bool:
        """Remove a group and all below it, from every hierarchy; groups that still hold a process stay.

        Returns:
            Whether there was anything.
        """
        found = False
        for root in self.roots():
            if (root / group).is_dir():
                found = True
                _remove(root / group)
        return found

    def kill(self, group: str, *, timeout: float = 10.0) -> bool:
        """End every process of a group and of those below it, and wait until they are gone.

        Returns:
            Whether there was any.

        Raises:
            TabletopError: some are still there after ``timeout`` seconds.
        """
        directory = self.unified / group
        if not processes(directory):
            return False
        deadline = time.monotonic() + timeout
        while pids := processes(directory):
            if time.monotonic() > deadline:
                raise TabletopError(f"Processes {pids} of {group} can't be ended: they wait for the kernel.")
            _kill(directory, pids)
            time.sleep(0.01)
        return True

    def groups_of(self, pid: int) -> "Groups | None":
        """The groups that a process is in, or None if it has ended."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        unified: Path | None = None
        v1: dict[str, Path] = {}
        for line in text.splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                unified = self.unified / path.lstrip("/")
            for controller in set(controllers.split(",")) & self.v1.keys():
                v1[controller] = self.v1[controller] / path.lstrip("/")
        return None if unified is None else Groups(unified, v1)


@dataclass(frozen=True)
class Groups:
    """The directories of one process's groups."""

    unified: Path
    v1: dict[str, Path]

    def of_machine(self) -> "Groups":
        """From the groups of a container's first process, those of the container as a whole."""
        return Groups(_without_scope(self.unified), {name: _without_scope(path) for name, path in self.v1.items()})

    def memory(self) -> int | None:
        """Bytes that the kernel can't take back: anonymous pages and tmpfs. None if the host keeps no such account."""
        v1 = self.v1.get("memory")
        directory, keys = (v1, ("total_rss", "total_shmem")) if v1 else (self.unified, ("anon", "shmem"))
        try:
            lines = (directory / "memory.stat").read_text().splitlines()
        except FileNotFoundError:
            return None
        figures = {key: int(value) for key, value in (line.split() for line in lines)}
        return sum(figures.get(key, 0) for key in keys)


def processes(directory: Path) -> list[int]:
    """The processes of a group's directory and of those below it."""
    pids: list[int] = []
    for folder, _, _ in os.walk(directory):
        with contextlib.suppress(OSError):
            pids += [int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()]
    return pids


def _kill(directory: Path, pids: list[int]) -> None:
    killer = directory / "cgroup.kill"
    if killer.exists():
        killer.write_text("1")
        return
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _remove(directory: Path) -> None:
    for folder, _, _ in os.walk(directory, topdown=False):
        # Busy while a process is left in it; gone if someone else was quicker.
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _without_scope(path: Path) -> Path:
    return path.parent if path.name == "init.scope" else path
