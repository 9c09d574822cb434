"""Knowing a process again, so that a recycled process id is never taken for it."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


def boot_id() -> str:
    """The kernel's name for the time since the last boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Stat:
    """The fields of ``/proc/<pid>/stat`` (proc(5)) that tell processes apart."""

    pid: int
    state: str
    parent: int
    started: int
    """Clock ticks between the boot and the start of the process; it does not change on exec."""


def parse_stat(line: str) -> Stat:
    """Read one stat line; the command's name in it may hold spaces and parentheses.

    Raises:
        ValueError: it is not such a line.
    """
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    try:
        return Stat(int(pid), fields[0], int(fields[1]), int(fields[19]))
    except IndexError as error:
        raise ValueError(f"not a stat line: {line!r}") from error


def read_stat(pid: int) -> Stat | None:
    """What ``/proc`` says of a process, or None if there is none with this id."""
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


@dataclass(frozen=True)
class ProcessIdentity:
    """One process and no other, even after its id went to another or the host was booted again."""

    pid: int
    started: int
    boot: str

    @classmethod
    def load(cls, record: Path) -> "ProcessIdentity | None":
        """Read a record: a stat line, then a line with the boot's id. None if it isn't there or is incomplete."""
        try:
            lines = record.read_text().splitlines()
            stat = parse_stat(lines[0])
            return cls(stat.pid, stat.started, lines[1])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def is_alive(self) -> bool:
        """Whether it still runs; a process that has ended and was not yet waited for does not."""
        if self.boot != boot_id():
            return False
        stat = read_stat(self.pid)
        return stat is not None and stat.started == self.started and stat.state not in "ZX"

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end.

        Returns:
            Whether it has ended.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Checked after the descriptor was taken: what it stands for can't change any more.
            if not self.is_alive():
                return True
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(descriptor)

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_alive():
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    def leader(self) -> int | None:
        """The first process of the container that this process, a ``systemd-nspawn``, holds, as the host counts.

        None while there is none.
        """
        if not self.is_alive():
            return None
        try:
            children = (_PROC / str(self.pid) / "task" / str(self.pid) / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        for child in children:
            if innermost_pid(int(child)) == 1:
                return int(child)
        return None


def namespace_pids(pid: int) -> list[int]:
    """A process's ids, from the host's namespace of process ids inwards; empty if it has ended."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    line = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
    return [int(number) for number in line.split()[1:]]


def innermost_pid(pid: int) -> int | None:
    """A process's id as it sees it itself, if it lives in a namespace of process ids below the host's."""
    pids = namespace_pids(pid)
    return pids[-1] if len(pids) > 1 else None
