"""Machines: systemd containers on this host, each with its own root directory, address and processes.

All that is known of a machine is on disk and in the kernel, nothing in this process: any number of processes may use
the same machines, and machines outlive them all.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tabletop.boot import Bind, Boot, cgroup, forget_unit, launch
from tabletop.cgroups import Groups, Hierarchies, processes
from tabletop.errors import TabletopError
from tabletop.execution import command, end_abandoned
from tabletop.hosts_file import resolv_conf_of_host, write_machines
from tabletop.image import ensure_image, images_directory
from tabletop.image_content import PACKAGES_MOUNT
from tabletop.limits import raise_limits
from tabletop.locks import locked
from tabletop.mounts import is_mounted, mount_overlay, remove_tree
from tabletop.network import Network
from tabletop.package_pool import PackagePool
from tabletop.paths import Paths
from tabletop.processes import ProcessIdentity
from tabletop.progress import Progress, silent

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_POWEROFF = signal.SIGRTMIN + 4
"""What systemd as a container's first process takes as the wish to power off (systemd(1), signals)."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
_File = int | IO[Any] | None


class NoSuchMachineError(TabletopError):
    """There is no machine of this name."""


class NotRunningError(TabletopError):
    """The machine does not run."""


@dataclass(frozen=True)
class Machine:
    """What a machine was made as."""

    name: str
    index: int
    """Its number in the network."""
    address: str
    image: str
    """The base image below its overlay, by its name in the cache."""
    kind: str
    """Suite and architecture, such as ``bookworm-amd64``."""
    uuid: str
    binds: tuple[Bind, ...] = ()

    def to_json(self) -> str:
        """As it is kept on disk."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Machine":
        """From what is on disk."""
        fields: dict[str, Any] = json.loads(text)
        binds = tuple(Bind(Path(bind["source"]), bind["target"], bind["read_only"]) for bind in fields.pop("binds"))
        return cls(**fields, binds=binds)


class Machines:
    """The machines of one tabletop.

    Args:
        paths: its directories.
        progress: is told of work that takes more than a moment.
        include: packages that the base image has beyond those that every machine needs.
    """

    def __init__(self, paths: Paths, progress: Progress = silent, *, include: Sequence[str] = ()):
        self._paths = paths
        self._progress = progress
        self._include = tuple(include)
        self._network = Network(paths)

    def names(self) -> list[str]:
        """The names of all machines, running or not."""
        return sorted(file.parent.name for file in self._paths.machines.glob("*/machine.json"))

    def get(self, name: str) -> Machine:
        """What a machine was made as.

        Raises:
            NoSuchMachineError: there is none of this name.
        """
        try:
            return Machine.from_json((self._directory(name) / "machine.json").read_text())
        except FileNotFoundError as error:
            raise NoSuchMachineError(f"There is no machine {name}.") from error

    def create(
        self, name: str, *, index: int | None = None, binds: Sequence[Bind] = (), architecture: str | None = None
    ) -> Machine:
        """Make a machine, without starting it; one that is there already is given ``binds`` from its next start on.

        Args:
            name: its name, and host name: letters, digits and hyphens.
            index: its number in the network, the last byte of its address; the next free one if None.
            binds: what it sees of the host.
            architecture: dpkg's name of its architecture; the host's own if None.

        Raises:
            TabletopError: the name won't do, the number is taken, or there is no base image and none can be built.
        """
        if not _NAME.match(name):
            raise TabletopError(
                f"{name!r} can't be a machine's name: use up to 63 lower-case letters, digits, hyphens."
            )
        image = ensure_image(self._paths, include=self._include, architecture=architecture, progress=self._progress)
        with self._locked(name):
            if (self._directory(name) / "machine.json").exists():
                machine = dataclasses.replace(self.get(name), binds=tuple(binds))
            else:
                index = self._take_index(index)
                address = self._network.address(index)
                machine = Machine(name, index, address, image.name, image.kind, str(uuid.uuid4()), tuple(binds))
            self._save(machine)
        self._tell_names()
        return machine

    def _take_index(self, index: int | None) -> int:
        taken = {self.get(other).index: other for other in self.names()}
        if index is None:
            return self._network.allocate(taken)
        if index in taken:
            raise TabletopError(f"The machine number {index} is taken, by {taken[index]}.")
        return index

    def _save(self, machine: Machine) -> None:
        directory = self._directory(machine.name)
        directory.mkdir(parents=True, exist_ok=True)
        draft = directory / "machine.json.new"
        draft.write_text(machine.to_json())
        draft.replace(directory / "machine.json")

    def start(self, name: str, *, timeout: float = 120.0) -> None:
        """Boot a machine and wait until its systemd has started everything, or all but what failed.

        Raises:
            TabletopError: it did not come up within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        with self._locked(name):
            machine = self.get(name)
            if not self.is_running(name):
                raise_limits(self._progress)
                self._end_leftovers(name)
                self._launch(machine)
            self._await_boot(machine, deadline)

    def _launch(self, machine: Machine) -> None:
        directory = self._directory(machine.name)
        root = self.root(machine.name)
        self._network.ensure()
        self._network.attach(machine.name, machine.index)
        write_machines(root, self._addresses())
        (root / "etc/hostname").write_text(machine.name + "\n")
        (root / "etc/resolv.conf").write_text(resolv_conf_of_host())
        pool = PackagePool(self._paths, machine.kind)
        pool.join(self._unit(machine.name), root)
        boot = Boot(
            name=machine.name,
            unit=self._unit(machine.name),
            root=root,
            uuid=machine.uuid,
            namespace=self._network.namespace_file(machine.name),
            binds=[*machine.binds, Bind(pool.directory, PACKAGES_MOUNT)],
            record=directory / "process",
            log=directory / "console.log",
        )
        launch(boot, Hierarchies.of_host())

    def _await_boot(self, machine: Machine, deadline: float) -> None:
        record = self._directory(machine.name) / "process"
        seen = False
        while time.monotonic() < deadline:
            identity = ProcessIdentity.load(record)
            if identity is not None and not identity.is_alive():
                break
            seen = seen or identity is not None
            if identity is not None and identity.leader() is not None:
                # Waits inside until the boot is over; before the machine's systemd listens it fails at once.
                done = self.run(machine.name, ["systemctl", "is-system-running", "--wait"])
                if done.stdout.strip() in {"running", "degraded"}:
                    return
            time.sleep(0.02)
        log = self._directory(machine.name) / "console.log"
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1] if log.exists() else "nothing"
        self._end_leftovers(machine.name)
        raise TabletopError(f"The machine {machine.name} did not boot; its console ends with: {last} ({log})")

    def stop(self, name: str, *, timeout: float = 60.0) -> None:
        """Power a machine off; what has not ended after ``timeout`` seconds is killed."""
        with self._locked(name):
            self.get(name)
            identity = self._identity(name)
            leader = identity.leader() if identity else None
            if identity is not None and leader is not None:
                os.kill(leader, _POWEROFF)
                if not identity.wait(timeout):
                    self._progress(f"{name}: killed, it did not power off within {timeout:.0f} s")
            self._end_leftovers(name)

    def destroy(self, name: str) -> None:
        """Remove a machine with all that it has on disk and in the kernel, whatever state it is in."""
        with self._locked(name):
            self._end_leftovers(name)
            directory = self._directory(name)
            kind = self.get(name).kind if (directory / "machine.json").exists() else None
            self._network.detach(name)
            # Renamed first: a removal that is killed half-way leaves no machine that could be started.
            (directory / "machine.json").unlink(missing_ok=True)
            remove_tree(directory)
            if kind is not None:
                PackagePool(self._paths, kind).leave(self._unit(name))
        self._tell_names()

    def is_running(self, name: str) -> bool:
        """Whether a machine runs."""
        return self._leader(name) is not None

    def root(self, name: str) -> Path:
        """A machine's root directory on the host, running or not.

        It shows the machine's disk: not what is mounted inside, such as its ``/run`` and what was bound into it.
        """
        machine = self.get(name)
        directory = self._directory(name)
        root = directory / "root"
        if not is_mounted(root):
            with locked(self._paths.locks / f"mount-{name}"):
                if not is_mounted(root):
                    lower = images_directory(self._paths) / machine.image
                    if not lower.is_dir():
                        raise TabletopError(f"The base image of machine {name} is gone: {lower}. Destroy the machine.")
                    mount_overlay(root, lower=lower, upper=directory / "upper", work=directory / "work")
        return root

    def address(self, name: str) -> str:
        """A machine's IPv4 address."""
        return self.get(name).address

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "root",
        stdin: _File = subprocess.DEVNULL,
        stdout: _File = None,
        stderr: _File = None,
        text: bool = False,
        new_session: bool = True,
    ) -> "subprocess.Popen[Any]":
        """Start a program in a running machine.

        The result stands for the program: it ends when the program does, with its exit status. It leads a process
        group of its own (with ``new_session``), so ``os.killpg(result.pid, ...)`` reaches the program and what it
        started, while killing the result alone would leave the program running.

        Args:
            name: the machine.
            argv: the program, looked up in the machine with the PATH of ``env``, and its arguments.
            env: its whole environment; a plain one if None.
            cwd: the directory in the machine to run it in.
            user: whose rights it gets.
            stdin: as for :class:`subprocess.Popen`, and likewise ``stdout``, ``stderr``, ``text``.
            stdout: see ``stdin``.
            stderr: see ``stdin``.
            text: see ``stdin``.
            new_session: False for a program that needs the caller's terminal.

        Raises:
            NotRunningError: the machine does not run.
        """
        environment = dict(_ENVIRONMENT if env is None else env)
        leader = self._leader(name)
        groups = None if leader is None else self._groups(leader)
        if leader is None or groups is None:
            self.get(name)
            raise NotRunningError(f"The machine {name} does not run.")
        line = command(leader, groups, argv, env=environment, cwd=cwd, user=user, root=self.root(name))
        return subprocess.Popen(
            line,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=text,
            start_new_session=new_session,
        )

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "root",
        input: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program in a running machine to its end, taking what it writes as text.

        Args:
            name: the machine.
            argv: the program and its arguments.
            env: see :meth:`popen`, and likewise ``cwd`` and ``user``.
            cwd: see :meth:`popen`.
            user: see :meth:`popen`.
            input: what it reads from its standard input.
            timeout: seconds after which it and what it started are killed.
            check: whether an exit status other than 0 is an error.

        Raises:
            NotRunningError: the machine does not run.
            subprocess.TimeoutExpired: see ``timeout``.
            TabletopError: see ``check``.
        """
        pipe = subprocess.PIPE
        source = subprocess.DEVNULL if input is None else pipe
        with self.popen(
            name, argv, env=env, cwd=cwd, user=user, stdin=source, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode != 0:
            said = (err or out).strip().splitlines()[-1:] or ["it said nothing"]
            raise TabletopError(f"{name}: `{' '.join(argv)}` failed with status {process.returncode}: {said[0]}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def usage(self, name: str) -> int:
        """Bytes of memory that a machine holds and the kernel can't take back: 0 if it does not run."""
        leader = self._leader(name)
        groups = None if leader is None else self._groups(leader)
        if groups is None:
            return 0
        figure = groups.memory()
        return sum(map(_anonymous_bytes, processes(groups.unified))) if figure is None else figure

    def end_abandoned(self, name: str) -> int:
        """End the programs in a machine whose starter has died while it waited for them.

        Returns:
            How many there were.
        """
        leader = self._leader(name)
        groups = None if leader is None else self._groups(leader)
        return 0 if groups is None else end_abandoned(groups.unified)

    def cut(self, name: str) -> None:
        """Pull a machine's network cable: it runs on, and nobody reaches it."""
        self._network.set_link(self.get(name).index, up=False)

    def heal(self, name: str) -> None:
        """Plug a machine's network cable in again."""
        self._network.set_link(self.get(name).index, up=True)

    def _directory(self, name: str) -> Path:
        return self._paths.machines / name

    def _unit(self, name: str) -> str:
        return f"{self._paths.tag}-{name}"

    def _locked(self, name: str) -> Any:
        return locked(self._paths.locks / f"machine-{name}")

    def _identity(self, name: str) -> ProcessIdentity | None:
        return ProcessIdentity.load(self._directory(name) / "process")

    def _leader(self, name: str) -> int | None:
        identity = self._identity(name)
        return None if identity is None else identity.leader()

    def _groups(self, leader: int) -> Groups | None:
        groups = Hierarchies.of_host().groups_of(leader)
        return None if groups is None else groups.of_machine()

    def _addresses(self) -> dict[str, str]:
        machines = sorted((self.get(name) for name in self.names()), key=lambda machine: machine.index)
        return {machine.name: machine.address for machine in machines}

    def _tell_names(self) -> None:
        with locked(self._paths.locks / "hosts"):
            addresses = self._addresses()
            for name in addresses:
                root = self._directory(name) / "root"
                if is_mounted(root):
                    write_machines(root, addresses)

    def _end_leftovers(self, name: str) -> None:
        """End every process of a machine, at once, and forget its control groups."""
        identity = self._identity(name)
        if identity is not None:
            identity.kill()
        unit = self._unit(name)
        forget_unit(unit)
        hierarchies = Hierarchies.of_host()
        hierarchies.kill(cgroup(unit))
        if identity is not None:
            identity.wait(10)
        hierarchies.remove(cgroup(unit))
        (self._directory(name) / "process").unlink(missing_ok=True)


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
