"""What can be asked of a machine while it runs: to run programs, and how much memory it holds."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tabletop.cgroups import Groups, Hierarchies, processes
from tabletop.emulation import is_emulated
from tabletop.errors import TabletopError
from tabletop.execution import command, end_abandoned
from tabletop.machine_store import MachineStore, NotRunningError
from tabletop.processes import ProcessIdentity

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
_File = int | IO[Any] | None


class RunningMachines:
    """The running ones of a tabletop's machines.

    Args:
        store: the machines' records.
    """

    def __init__(self, store: MachineStore):
        self._store = store

    def is_running(self, name: str) -> bool:
        """Whether a machine runs."""
        return self.leader(name) is not None

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

        The result stands for the program: it ends when the program does, with its exit status (128 and the signal's
        number for one that a signal ended). It leads a process
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
        leader = self.leader(name)
        groups = None if leader is None else self._groups(leader)
        if leader is None or groups is None:
            self._store.get(name)
            raise NotRunningError(f"The machine {name} does not run.")
        passwd = self._store.directory(name) / "root/etc/passwd"
        emulated = is_emulated(self._store.get(name).architecture)
        line = command(leader, groups, argv, env=environment, cwd=cwd, user=user, passwd=passwd, emulated=emulated)
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
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(argv), error.timeout, error.output, error.stderr) from None
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if check and process.returncode != 0:
            said = (err or out).strip().splitlines()[-1:] or ["it said nothing"]
            raise TabletopError(f"{name}: `{' '.join(argv)}` failed with status {process.returncode}: {said[0]}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def usage(self, name: str) -> int:
        """Bytes of memory that a machine holds and the kernel can't take back: 0 if it does not run."""
        leader = self.leader(name)
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
        leader = self.leader(name)
        groups = None if leader is None else self._groups(leader)
        return 0 if groups is None else end_abandoned(groups.unified)

    def leader(self, name: str) -> int | None:
        """Return the host's process id of a running machine's first process."""
        identity = self._identity(name)
        return None if identity is None else identity.leader()

    def incarnation(self, name: str) -> str:
        """What tells a machine's present run from those before and after it, who ever booted it; "" if it is down."""
        identity = self._identity(name)
        if identity is None or identity.leader() is None:
            return ""
        return f"{identity.boot}/{identity.pid}/{identity.started}"

    def _identity(self, name: str) -> ProcessIdentity | None:
        return ProcessIdentity.load(self._store.record(name))

    def _groups(self, leader: int) -> Groups | None:
        groups = Hierarchies.of_host().groups_of(leader)
        return None if groups is None else groups.of_machine()

    def _has_systemd(self, name: str) -> bool:
        """Whether a machine's first process is its systemd, and has settled in its control group."""
        leader = self.leader(name)
        groups = None if leader is None else Hierarchies.of_host().groups_of(leader)
        return groups is not None and groups.unified.name == "init.scope"


def _anonymous_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
