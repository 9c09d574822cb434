"""What the host must allow before machines can be made: each check ends in one sentence on what to do about it.

The checks touch nothing of the host: what they make, they make in namespaces that go with them, or remove again.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tabletop.cgroups import Hierarchies
from tabletop.errors import TabletopError
from tabletop.paths import Paths
from tabletop.programs import ProgramError, run

_CAPABILITIES: Mapping[str, int] = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
"""Rights that root may have lost, and their bits (capabilities(7), linux/capability.h)."""

NAMESPACES = ("mount", "uts", "ipc", "pid", "net", "cgroup")
"""The kinds of namespaces that a machine has of its own, as `unshare` calls them."""

# Each runs in a network namespace of its own.
NETWORK_PROBES: Mapping[str, tuple[str, str]] = {
    "bridges": ("bridge", "ip link add tabletop-probe type bridge"),
    "pairs of virtual Ethernet links": ("veth", "ip link add tabletop-probe type veth peer name eth0"),
    "address translation by nftables": (
        "nft_chain_nat nft_masq",
        "nft add table ip tabletop-probe"
        " && nft add chain ip tabletop-probe out '{ type nat hook postrouting priority srcnat; }'"
        " && nft add rule ip tabletop-probe out masquerade",
    ),
}
"""What the machines' network is made of: the kernel's modules for it, and a script that tries it."""
_OVERLAY_PROBE = (
    'cd "$1" && mkdir lower upper work root && mount -t overlay probe -o '
    "lowerdir=lower,upperdir=upper,workdir=work root && touch root/file"
)


def check_rights(process_status: str | None = None) -> None:
    """Check that this process has root's rights, all of those that machines need.

    Args:
        process_status: what `/proc/self/status` says (proc(5)); it is read if None.

    Raises:
        TabletopError: it has not.
    """
    if os.geteuid() != 0:
        raise TabletopError("tabletop makes machines, mounts and network interfaces: run it as root (sudo).")
    text = Path("/proc/self/status").read_text() if process_status is None else process_status
    line = next(line for line in text.splitlines() if line.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    if lacking := [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]:
        raise TabletopError(
            f"root lacks {', '.join(lacking)} here, without which no machine can be made or mounted: start the "
            f"container that this is with all rights, such as `docker run --privileged`, or use a virtual machine."
        )


def check_directories(paths: Paths) -> None:
    """Check that the directories can be written to, making them if need be.

    Raises:
        TabletopError: one can't.
    """
    for variable in ("state", "cache", "run"):
        directory: Path = getattr(paths, variable)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o755 if variable == "cache" else 0o700)
            with tempfile.TemporaryFile(dir=directory) as file:
                file.write(b"probe")
        except OSError as error:
            raise TabletopError(
                f"{directory} can't be written to ({error.strerror}): make it writable, free space on its disk, "
                f"or set TABLETOP_{variable.upper()} to another directory."
            ) from error


def check_control_groups(hierarchies: Hierarchies | None = None) -> None:
    """Check that control groups can be made.

    Raises:
        TabletopError: there are none of version 2, or they are read-only.
    """
    unified = (hierarchies or Hierarchies.of_host()).unified
    probe = unified / f"tabletop-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise TabletopError(
            f"No control group can be made in {unified} ({error.strerror}): mount /sys/fs/cgroup read-write, such as "
            f"with `mount -o remount,rw {unified}`, or start the container that this is with `--privileged`."
        ) from error


def check_kernel(paths: Paths) -> None:
    """Try out what machines need of the kernel: namespaces, bridges, links, address translation, overlays.

    Raises:
        TabletopError: it refuses one of them.
    """
    for kind in NAMESPACES:
        limit = f"/proc/sys/user/max_{kind.replace('mount', 'mnt')}_namespaces"
        _try(
            ["unshare", f"--{kind}", *(["--fork"] if kind == "pid" else []), "true"],
            f"The kernel gives no {kind} namespace: look at {limit} and at what the container that this is, if it is "
            f"one, is allowed",
        )
    for what, (modules, script) in NETWORK_PROBES.items():
        _try(
            ["unshare", "--net", "/bin/sh", "-c", script],
            f"The kernel has no {what}: load it with `modprobe -a {modules}`, or boot a kernel that has it",
        )
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=paths.state))
    try:
        run(["unshare", "--mount", "/bin/sh", "-c", _OVERLAY_PROBE, "sh", str(probe)])
    except ProgramError as error:
        raise TabletopError(f"{_overlay_advice(paths.state)} ({error})") from error
    finally:
        shutil.rmtree(probe)


def _overlay_advice(state: Path, filesystems: str | None = None) -> str:
    known = Path("/proc/filesystems").read_text() if filesystems is None else filesystems
    if "overlay" not in known.split():
        return "The kernel has no overlay file system: load it with `modprobe overlay`, or boot a kernel that has it."
    return (
        f"The kernel can't mount an overlay in {state}: "
        f"set TABLETOP_STATE to a directory on an ext4 or xfs file system."
    )


def _try(argv: list[str], advice: str) -> None:
    try:
        run(argv)
    except ProgramError as error:
        raise TabletopError(f"{advice}. ({error})") from error
