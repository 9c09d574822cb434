"""Booting a machine: the container manager's command line, and how it outlives whoever started it."""

from dataclasses import dataclass
from pathlib import Path

from tabletop.cgroups import Hierarchies
from tabletop.programs import run, succeeds
from tabletop.quotas import Limits, impose

# Enters the machine's control groups if it was given any, notes who it is (the process stays the same over exec), and
# becomes systemd-nspawn. What the machine sees of the host is read here: it may have changed since the last boot.
_STARTER = """\
record=$1 groups=$2 binds=$3; shift 3
for group in $groups; do echo 0 >"$group/cgroup.procs" || exit 1; done
read -r stat </proc/self/stat
read -r boot </proc/sys/kernel/random/boot_id
printf '%s\\n%s\\n' "$stat" "$boot" >"$record.new"
mv "$record.new" "$record"
while IFS= read -r word; do set -- "$@" "$word"; done <"$binds" || exit 1
exec "$@"
"""

_REBOOT = 133
"""What systemd-nspawn exits with, under --keep-unit, when the machine wants to be booted again."""

# On a host without systemd this stands by to boot a machine again that reboots. It waits in a control group beside
# the manager's: version 2 allows no process in a group that has others below it. What is left in the manager's once it
# has ended is ended too (as systemd does, on a host that has it).
_WATCHER = f"""\
echo 0 >"$1/cgroup.procs" || exit 1
manager=$2
shift 2
while "$@"; status=$?; echo 1 >"$manager/cgroup.kill"; [ $status -eq {_REBOOT} ]; do :; done
"""

_ENVIRONMENT = {
    # A machine's /tmp is on disk, as on any server: a tmpfs would eat the host's memory.
    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Bind:
    """A directory or file of the host that a machine sees too."""

    source: Path
    """On the host; must exist."""
    target: str
    """Absolute, in the machine; made if it is missing."""
    read_only: bool = False

    def to_argument(self) -> str:
        """As an argument of systemd-nspawn."""
        option = "--bind-ro" if self.read_only else "--bind"
        source, target = (str(path).replace("\\", "\\\\").replace(":", "\\:") for path in (self.source, self.target))
        return f"{option}={source}:{target}"


@dataclass(frozen=True)
class Boot:
    """All that a machine is booted with."""

    name: str
    """Its host name."""
    unit: str
    """Its name among all that the host runs; also its control group."""
    root: Path
    uuid: str
    namespace: Path
    binds: Path
    """A file with an argument of systemd-nspawn for each bind, a line each."""
    limits: Limits
    record: Path
    """Where the manager notes who it is."""
    log: Path
    """What the machine writes to its console."""

    def argv(self) -> list[str]:
        """The container manager's command line."""
        return [
            "systemd-nspawn",
            "--boot",
            "--quiet",
            "--console=read-only",
            "--register=no",
            "--keep-unit",
            f"--directory={self.root}",
            f"--machine={self.name}",
            f"--hostname={self.name}",
            f"--uuid={self.uuid}",
            f"--network-namespace-path={self.namespace}",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
        ]


def host_runs_systemd() -> bool:
    """Whether the host's first process is systemd: then a machine is a unit of it."""
    return Path("/run/systemd/system").is_dir() and Path("/proc/1/comm").read_text().strip() == "systemd"


def launch(boot: Boot, hierarchies: Hierarchies) -> list[str]:
    """Start a machine's manager, detached from this process; it notes who it is in ``boot.record``.

    On a host with systemd it runs in a transient unit that delegates its control groups. Elsewhere it is a session of
    its own in control groups that are made here. Either way nspawn itself need not register or move anywhere.

    Returns:
        What of its limits the host's control groups can't hold it to.
    """
    boot.record.unlink(missing_ok=True)
    if host_runs_systemd():
        run(
            [
                *("systemd-run", "--quiet", "--collect", f"--unit={boot.unit}", f"--description=machine {boot.name}"),
                *("--property=Delegate=yes", "--property=KillMode=mixed", "--property=TasksMax=infinity"),
                *(f"--property=RestartForceExitStatus={_REBOOT}", f"--property=SuccessExitStatus={_REBOOT}"),
                f"--property=StandardOutput=append:{boot.log}",
                f"--property=StandardError=append:{boot.log}",
                *boot.limits.properties(),
                *(f"--setenv={name}={value}" for name, value in _ENVIRONMENT.items()),
                *("--", "/bin/sh", "-c", _STARTER, "sh", str(boot.record), "", str(boot.binds), *boot.argv()),
            ]
        )
        return []
    hierarchies.make(f"{cgroup(boot.unit)}/watcher")
    groups = " ".join(map(str, hierarchies.make(f"{cgroup(boot.unit)}/manager")))
    failed = impose(hierarchies, cgroup(boot.unit), boot.limits)
    starter = ["/bin/sh", "-c", _STARTER, "sh", str(boot.record), groups, str(boot.binds), *boot.argv()]
    own = hierarchies.unified / cgroup(boot.unit)
    watcher = ["setsid", "/bin/sh", "-c", _WATCHER, "sh", str(own / "watcher"), str(own / "manager"), *starter]
    # The shell ends at once, so that the watcher belongs to the host's first process and not to this one.
    run(
        ["/bin/sh", "-c", 'log=$1; shift; exec </dev/null >>"$log" 2>&1; "$@" &', "sh", str(boot.log), *watcher],
        env=_ENVIRONMENT,
    )
    return failed


def cgroup(unit: str) -> str:
    """The control group of all that belongs to a machine, on a host without systemd."""
    return f"tabletop/{unit}"


def forget_unit(unit: str) -> None:
    """Make a systemd host forget a machine's unit, and end what is left of it."""
    if host_runs_systemd():
        succeeds(["systemctl", "kill", "--signal=KILL", f"{unit}.service"])
        succeeds(["systemctl", "stop", f"{unit}.service"])
        succeeds(["systemctl", "reset-failed", f"{unit}.service"])


def last_words(log: Path) -> str:
    """The end of what a machine wrote to its console, less what its manager says at every end."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if "we can't allow that" not in line and line.strip()]
    return " / ".join(lines[-2:]) or "nothing"
