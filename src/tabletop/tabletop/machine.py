"""Machines: systemd containers on this host, each with its own root directory, address and processes.

All that is known of a machine is on disk and in the kernel, nothing in this process: any number of processes may use
the same machines, and machines outlive them all.
"""

import dataclasses
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath

from tabletop.boot import Bind, Boot, cgroup, forget_unit, last_words, launch
from tabletop.cgroups import Hierarchies
from tabletop.cutting import NetworkedMachines
from tabletop.emulation import ensure_emulation, is_emulated
from tabletop.errors import TabletopError
from tabletop.hosts_file import has_server, loopback_server, resolv_conf_of_host, write_inside, write_machines
from tabletop.image import Image, ensure_image, images_directory, is_whole
from tabletop.image_content import PACKAGES_MOUNT
from tabletop.limits import raise_limits
from tabletop.locks import locked
from tabletop.machine_store import Machine, MachineStore, NoSuchMachineError, NotRunningError
from tabletop.mounts import is_mounted, mount_overlay, remove_tree
from tabletop.network import Network
from tabletop.package_pool import PackagePool, leave_pools
from tabletop.paths import Paths
from tabletop.processes import ProcessIdentity
from tabletop.programs import ProgramError
from tabletop.progress import Progress, silent
from tabletop.quotas import Limits, unenforceable
from tabletop.running import PATH

__all__ = ["PATH", "Bind", "Machine", "Machines", "NoSuchMachineError", "NotRunningError"]

_NO_LIMITS = Limits()
_POWEROFF = signal.SIGRTMIN + 4
"""What systemd as a container's first process takes as the wish to power off (systemd(1), signals)."""


_MOUNT = """\
mkdir -p "$2"
mountpoint -q "$2" || mount --bind "$1" "$2" || exit 1
[ -z "$3" ] || mount -o remount,bind,ro "$2"
"""
_UNMOUNT = 'while mountpoint -q "$1"; do umount "$1" 2>/dev/null || umount --lazy "$1" || exit 1; done'


class Machines(NetworkedMachines):
    """The machines of one tabletop.

    Args:
        paths: its directories.
        progress: is told of work that takes more than a moment.
        include: packages that the base image has beyond those that every machine needs.
    """

    def __init__(self, paths: Paths, progress: Progress = silent, *, include: Sequence[str] = ()):
        super().__init__(MachineStore(paths), Network(paths))
        self._paths = paths
        self._progress = progress
        self._include = tuple(include)
        self._told: set[str] = set()

    def names(self) -> list[str]:
        """The names of all machines, running or not."""
        return self._store.names()

    def get(self, name: str) -> Machine:
        """What a machine was made as.

        Raises:
            NoSuchMachineError: there is none of this name.
        """
        return self._store.get(name)

    def prepare(self, architecture: str | None = None, progress: Progress | None = None) -> Image:
        """Have the base image that machines of an architecture are made from.

        Packages beyond those that every machine needs are in the image of the host's own architecture alone: under
        emulation each would take its time.

        Args:
            architecture: dpkg's name of it; the host's own if None.
            progress: is told of each step of a build, instead of the one that all machines have.

        Raises:
            TabletopError: there is no image and none can be built.
        """
        return ensure_image(
            self._paths,
            include=() if architecture and is_emulated(architecture) else self._include,
            architecture=architecture,
            progress=progress or self._progress,
        )

    def create(
        self,
        name: str,
        *,
        index: int | None = None,
        binds: Sequence[Bind] = (),
        architecture: str | None = None,
        limits: Limits = _NO_LIMITS,
    ) -> Machine:
        """Make a machine, without starting it; one that is there gets ``binds`` and ``limits`` from its next start on.

        Args:
            name: its name, and host name: letters, digits and hyphens.
            index: its number in the network, the last byte of its address; the next free one if None.
            binds: what it sees of the host.
            architecture: dpkg's name of its architecture; the host's own if None.
            limits: the most that it may take.

        Raises:
            TabletopError: the name won't do, the number is taken, or there is no base image and none can be built.
        """
        with self._locked(name):
            machine = self._store.find(name)
            if machine is None:
                image = self.prepare(architecture)
                index = self._take_index(index)
                address = self._network.address(index)
                machine = Machine(name, index, address, image.name, image.kind, str(uuid.uuid4()))
            changed = dataclasses.replace(machine, binds=tuple(binds), memory=limits.memory, cores=limits.cores)
            self._save(changed)
        self._tell_names()
        return self.get(name)

    def _take_index(self, index: int | None) -> int:
        taken = {machine.index: machine.name for machine in self._store.all()}
        if index is None:
            return self._network.allocate(taken)
        if index in taken:
            raise TabletopError(f"The machine number {index} is taken, by {taken[index]}.")
        return index

    def start(self, name: str, *, timeout: float | None = None) -> None:
        """Boot a machine and wait until its systemd has started everything, or all but what failed.

        Args:
            name: the machine.
            timeout: seconds that it may take; two minutes if None, ten for one that is emulated.

        Raises:
            TabletopError: it did not come up in time.
        """
        with self._locked(name):
            machine = self.get(name)
            if timeout is None:
                timeout = 600.0 if is_emulated(machine.architecture) else 120.0
            deadline = time.monotonic() + timeout
            if not self.is_running(name):
                raise_limits(self._progress)
                self._end_leftovers(name)
                self._launch(machine)
            self._await_boot(machine, deadline)

    def _launch(self, machine: Machine) -> None:
        directory = self._store.directory(machine.name)
        for bind in machine.binds:
            if not bind.source.exists():
                raise TabletopError(f"{bind.source} is missing: {machine.name} is to see it as {bind.target}.")
        # A registration lasts until the host's next boot, a machine for longer.
        ensure_emulation(machine.architecture, self._progress)
        root = self.root(machine.name)
        self._network.ensure()
        self._network.attach(machine.name, machine.index)
        with locked(self._paths.locks / "hosts"):
            write_machines(root, self._store.addresses())
        write_inside(root / "etc/hostname", machine.name + "\n")
        write_inside(root / "etc/resolv.conf", self._name_servers())
        pool = PackagePool(self._paths, machine.kind)
        pool.join(self._store.unit(machine.name), root)
        boot = Boot(
            name=machine.name,
            unit=self._store.unit(machine.name),
            root=root,
            uuid=machine.uuid,
            namespace=self._network.namespace_file(machine.name),
            binds=self._store.binds(machine.name),
            limits=Limits(machine.memory, machine.cores),
            record=self._store.record(machine.name),
            log=directory / "console.log",
        )
        for what in launch(boot, Hierarchies.of_host()):
            self._tell_once(
                f"The host's control groups can't limit the {what} of machines: that constraint has no effect."
            )

    def _name_servers(self) -> str:
        """The resolv.conf of a machine."""
        text = resolv_conf_of_host()
        if has_server(text):
            return text
        server = loopback_server()
        if server is None:
            self._tell_once("The host has no name server that machines can ask: names are not resolved in them.")
            return text
        try:
            return f"nameserver {self._network.forward_names(server)}\n{text}"
        except (ProgramError, OSError) as error:
            self._tell_once(f"Machines can't ask the name server {server}, which only this host reaches: {error}")
            return text

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._progress(f"WARNING: {text}")

    def _save(self, machine: Machine) -> None:
        self._store.save(machine)
        pool = PackagePool(self._paths, machine.kind)
        self._store.save_binds(machine.name, [*machine.binds, Bind(pool.directory, PACKAGES_MOUNT)])

    def bind(self, name: str, bind: Bind) -> None:
        """Let a machine see something of the host: at once if it runs, and from its next start on.

        Raises:
            TabletopError: it runs, and what it is to see doesn't lie in something that it sees already.
        """
        with self._locked(name):
            machine = self.get(name)
            binds = [one for one in machine.binds if one.target != bind.target]
            if self.is_running(name):
                source = _seen_as(binds, bind.source)
                if source is None:
                    raise TabletopError(f"{bind.source} can be seen by {name} only from its next start on.")
                self.run(
                    name, ["sh", "-c", _MOUNT, "sh", source, bind.target, "ro" if bind.read_only else ""], check=True
                )
            self._save(dataclasses.replace(machine, binds=(*binds, bind)))

    def unbind(self, name: str, target: str) -> None:
        """Take back what `bind` gave a machine; nothing happens if it isn't there, or the machine is gone."""
        with self._locked(name):
            machine = self._store.find(name)
            if machine is None:
                return
            self._save(dataclasses.replace(machine, binds=tuple(one for one in machine.binds if one.target != target)))
            # A program that still has a file open there keeps it, and nobody else.
            with suppress(NotRunningError):
                self.run(name, ["sh", "-c", _UNMOUNT, "sh", target], check=True)

    def _await_boot(self, machine: Machine, deadline: float) -> None:
        record = self._store.record(machine.name)
        said = ""
        while time.monotonic() < deadline:
            identity = ProcessIdentity.load(record)
            if identity is not None and not identity.is_alive():
                break
            if self._has_systemd(machine.name):
                # Waits inside until the boot is over; before the machine's systemd listens it fails at once.
                try:
                    left = max(1.0, deadline - time.monotonic())
                    done = self.run(machine.name, ["systemctl", "is-system-running", "--wait"], timeout=left)
                except NotRunningError:
                    pass
                except subprocess.TimeoutExpired:
                    said = "a service has not come to an end of its start"
                else:
                    if done.stdout.strip() in {"running", "degraded"}:
                        return
                    said = done.stderr.strip() or done.stdout.strip()
            time.sleep(0.02)
        log = self._store.directory(machine.name) / "console.log"
        self._end_leftovers(machine.name)
        end = " / ".join(filter(None, (last_words(log), said)))
        raise TabletopError(f"The machine {machine.name} did not boot; its console ends with: {end} ({log})")

    def stop(self, name: str, *, timeout: float = 60.0) -> None:
        """Power a machine off; what has not ended after ``timeout`` seconds is killed."""
        with self._locked(name):
            machine = self.get(name)
            identity = self._identity(name)
            leader = identity.leader() if identity else None
            if identity is not None and leader is not None:
                self._ask_to_power_off(machine, leader)
                if not identity.wait(timeout):
                    self._progress(f"{name}: killed, it did not power off within {timeout:.0f} s")
            self._end_leftovers(name)

    def _ask_to_power_off(self, machine: Machine, leader: int) -> None:
        if not is_emulated(machine.architecture):
            os.kill(leader, _POWEROFF)
            return
        # qemu numbers real-time signals differently from the host, and differently from release to release.
        with suppress(NotRunningError):
            self.run(
                machine.name, ["systemctl", "start", "--no-block", "--job-mode=replace-irreversibly", "poweroff.target"]
            )

    def destroy(self, name: str) -> None:
        """Remove a machine with all that it has on disk and in the kernel, whatever state it is in."""
        with self._locked(name):
            self._end_leftovers(name)
            directory = self._store.directory(name)
            self._network.detach(name)
            try:
                self.forget_cuts(name)
            except TabletopError as error:
                self._progress(f"WARNING: {name}: its cuts, if there are any, stay: {error}")
            # Goes first: a removal that is killed half-way leaves nothing that could be started.
            (directory / "machine.json").unlink(missing_ok=True)
            remove_tree(directory)
            leave_pools(self._paths, self._store.unit(name))
        self._tell_names()

    def root(self, name: str) -> Path:
        """A machine's root directory on the host, running or not.

        It shows the machine's disk: not what is mounted inside, such as its ``/run`` and what was bound into it.
        """
        machine = self.get(name)
        directory = self._store.directory(name)
        root = directory / "root"
        if not is_mounted(root):
            with locked(self._paths.locks / f"mount-{name}"):
                if not is_mounted(root):
                    lower = images_directory(self._paths) / machine.image
                    if not is_whole(lower):
                        raise TabletopError(
                            f"The base image of machine {name} is gone or damaged: {lower}. Destroy the machine, "
                            f"and `tabletop bootstrap` builds an image for others."
                        )
                    mount_overlay(root, lower=lower, upper=directory / "upper", work=directory / "work")
        return root

    def address(self, name: str) -> str:
        """A machine's IPv4 address."""
        return self.get(name).address

    def kill(self, name: str) -> None:
        """Pull a machine's plug: all that it runs ends at once, and nothing of it is told."""
        with self._locked(name):
            self.get(name)
            self._end_leftovers(name)

    def unenforceable(self) -> list[str]:
        """What the host can't hold machines to, of ``memory`` and ``cores``."""
        return unenforceable(Hierarchies.of_host())

    def _locked(self, name: str) -> AbstractContextManager[int]:
        return locked(self._paths.locks / f"machine-{name}")

    def _tell_names(self) -> None:
        with locked(self._paths.locks / "hosts"):
            addresses = self._store.addresses()
            for name in addresses:
                root = self._store.directory(name) / "root"
                # One that is being destroyed meanwhile needs no names any more.
                with suppress(FileNotFoundError):
                    if is_mounted(root):
                        write_machines(root, addresses)

    def _end_leftovers(self, name: str) -> None:
        """End every process of a machine, at once, and forget its control groups."""
        identity = self._identity(name)
        if identity is not None:
            identity.kill()
        unit = self._store.unit(name)
        forget_unit(unit)
        hierarchies = Hierarchies.of_host()
        hierarchies.kill(cgroup(unit))
        if identity is not None:
            identity.wait(10)
        hierarchies.remove(cgroup(unit))
        self._store.record(name).unlink(missing_ok=True)


def _seen_as(binds: Sequence[Bind], path: Path) -> str | None:
    """Where a machine sees a path of the host, if it lies in what is bound into it."""
    for bind in binds:
        if path.is_relative_to(bind.source):
            return str(PurePosixPath(bind.target) / path.relative_to(bind.source))
    return None
