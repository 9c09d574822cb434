"""Running programs in a booted machine: by entering its namespaces and control groups, with no daemon in between."""

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabletop.cgroups import Groups, processes
from tabletop.errors import TabletopError
from tabletop.processes import namespace_pids, read_stat

# Enters the control groups and becomes nsenter. The first group is the one that programs are found and ended by; the
# others only keep accounts, and on a host that is itself a container may be read-only. The environment passes through
# untouched, which is how the program gets exactly what the caller gave: the shell's own two variables go again.
_ENTER = """\
count=$1; shift
echo 0 >"$1/cgroup.procs" || exit 125
while shift; count=$((count - 1)); [ "$count" -gt 0 ]; do echo 0 2>/dev/null >"$1/cgroup.procs"; done
unset PWD OLDPWD
exec "$@"
"""
# Starts the program as a child: only a child comes into the machine's namespace of process ids. nsenter could do so
# itself, but it stops when its child is stopped, as every process is while a machine goes down; then nobody takes note
# of the child's end, without which the kernel does not let the machine's first process go. A shell waits on.
_WAIT = 'cd -- "$1" || exit 125; shift; unset PWD OLDPWD; "$@"; exit $?'
_PARENT = "tabletop"
_GRACE = 60.0
"""Seconds that a new group is left alone."""
_SWEEP_EVERY = 30.0
"""Seconds from one look for groups to remove to the next: each costs as much as it finds."""
_swept: dict[Path, float] = {}
_counter = itertools.count()


def command(
    leader: int,
    groups: Groups,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str,
    user: str,
    passwd: Path,
    emulated: bool = False,
) -> list[str]:
    """The host's command line that runs ``argv`` in a machine.

    Args:
        leader: the machine's first process, as the host counts.
        groups: the machine's control groups.
        argv: the program and its arguments.
        env: the environment that the command line itself will be started with.
        cwd: the directory in the machine to run it in.
        user: whose rights it gets, by the machine's own list of users.
        passwd: the machine's list of users, as the host sees it.
        emulated: whether the machine's programs run through an emulator.
    """
    directories = [_execution_group(groups.unified), *dict.fromkeys(groups.v1.values())]
    line = ["/bin/sh", "-c", _ENTER, "sh", str(len(directories)), *map(str, directories)]
    enter = [_program("nsenter"), f"--target={leader}"]
    others = ["--mount", "--uts", "--ipc", "--net", "--cgroup"]
    # That shell changes to the folder too, which saves a program, where it is in the machine and the user's.
    plain = user == "root" and not emulated and "PWD" not in env
    waiting = ["/bin/sh", "-c", _WAIT, "sh", cwd if plain else "/"]
    if emulated:
        # qemu runs threads, which a process whose children come into another namespace of process ids can't start:
        # the shell that waits must be the host's, so the other namespaces are its child's to enter.
        line += [*enter, "--pid", "--no-fork", "--", *waiting, *enter, *others, "--"]
    else:
        line += [*enter, *others, "--pid", "--no-fork", "--", *waiting]
    if user != "root":
        line += ["setpriv", f"--reuid={user}", f"--regid={_primary_group(passwd, user)}", "--init-groups", "--"]
    if not plain and (cwd != "/" or "PWD" in env):
        line += ["env", f"--chdir={cwd}", *(f"{name}={env[name]}" for name in ("PWD", "OLDPWD") if name in env)]
    return [*line, *argv]


def _execution_group(machine: Path) -> Path:
    """A new group of the machine for one program and all that it starts.

    Below the machine's own root group, so that tools inside see a path that exists for them, and under a name that
    is no unit's, so that the machine's systemd leaves it alone.
    """
    parent = machine / _PARENT
    now = time.monotonic()
    if now - _swept.get(parent, -_SWEEP_EVERY) >= _SWEEP_EVERY:
        _swept[parent] = now
        _remove_empty(parent)
    stat = read_stat(os.getpid())
    started = 0 if stat is None else stat.started
    group = parent / f"{os.getpid()}-{started}-{next(_counter)}"
    group.mkdir(parents=True)
    return group


def _remove_empty(parent: Path) -> None:
    """Remove the groups of programs that have ended; the kernel keeps those that still hold a process."""
    latest = time.time() - _GRACE
    with contextlib.suppress(FileNotFoundError), os.scandir(parent) as entries:
        for entry in entries:
            # A young one may be empty because its program has yet to enter it.
            with contextlib.suppress(OSError):
                if entry.is_dir() and entry.stat().st_mtime < latest:
                    Path(entry.path).rmdir()


def _owner_is_alive(name: str) -> bool:
    """Whether the process that made the group of this name, and may be about to use it, still runs."""
    pid, started, _ = name.split("-")
    stat = read_stat(int(pid))
    return stat is not None and stat.started == int(started)


def end_abandoned(machine: Path) -> int:
    """End what a dead process had started in a machine and was still waiting for, with all that this had started.

    What such a program had left running in the background when it ended is no longer waited for, and stays.

    Args:
        machine: the machine's control group.

    Returns:
        How many programs were ended.
    """
    parent = machine / _PARENT
    ended = 0
    for group in parent.iterdir() if parent.is_dir() else ():
        if not group.is_dir() or _owner_is_alive(group.name):
            continue
        # The shell that waits for the program is in its group, but not in the machine's namespace of process ids.
        if any(len(namespace_pids(pid)) == 1 for pid in processes(group)):
            (group / "cgroup.kill").write_text("1")
            ended += 1
    return ended


def _primary_group(passwd: Path, user: str) -> str:
    for line in passwd.read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if user in (name, uid):
            return gid
    raise TabletopError(f"The machine has no user {user}.")


def _program(name: str) -> str:
    return shutil.which(name) or f"/usr/bin/{name}"
