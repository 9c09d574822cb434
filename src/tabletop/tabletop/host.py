"""The host: what it must have before machines can be made, and undoing all that was made on it."""

import re
from collections.abc import Sequence

from tabletop.boot import cgroup
from tabletop.cgroups import Hierarchies
from tabletop.errors import TabletopError
from tabletop.hostcheck import check_control_groups, check_directories, check_kernel, check_rights
from tabletop.image import BYTES_NEEDED, images_directory
from tabletop.limits import restore_limits
from tabletop.machine import Machines
from tabletop.mounts import free_bytes, remove_tree, unmount_below
from tabletop.network import Network
from tabletop.paths import Paths
from tabletop.programs import ProgramError, run, succeeds
from tabletop.recipe import distribution_of_host

PACKAGES = ("systemd-container", "mmdebstrap", "nftables", "iproute2")
"""The distribution's packages that tabletop uses on the host."""
STATE_BYTES_NEEDED = 1_000_000_000
"""Free space for the machines' own files, before a model's packages and data."""


def missing_packages(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Those of the packages that are not installed."""
    return [package for package in packages if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    try:
        return run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]) == "installed"
    except ProgramError:
        return False


def preflight(paths: Paths) -> None:
    """Check that machines can be made here, touching nothing but the directories of ``paths``.

    Raises:
        TabletopError: something is missing; the text says what, and what to do.
    """
    check_rights()
    distribution_of_host()
    check_directories(paths)
    if missing := missing_packages():
        names = " ".join(missing)
        raise TabletopError(f"The host lacks the package(s) {names}: run `apt-get install {names}`.")
    check_space(paths)
    check_control_groups()
    check_kernel(paths)


def check_space(paths: Paths) -> None:
    """Check the free space that the first machine needs.

    Raises:
        TabletopError: a disk is too full.
    """
    has_image = any(images_directory(paths).glob("*"))
    needs = [("TABLETOP_STATE", paths.state, STATE_BYTES_NEEDED)]
    if not has_image:
        needs.append(("TABLETOP_CACHE", paths.cache, BYTES_NEEDED))
    for variable, directory, needed in needs:
        free = free_bytes(directory)
        if free < needed:
            raise TabletopError(
                f"{directory} needs {needed / 1e9:.1f} GB free and has {free / 1e9:.1f} GB: "
                f"free some, or set {variable} to a directory on a larger disk."
            )


def firewall_advice(paths: Paths) -> str | None:
    """What to do if a firewall of the host keeps the machines from reaching anything outside; None if none does."""
    for line in run(["nft", "list", "chains", "ip"]).splitlines():
        if re.search(r"hook forward .*policy drop", line):
            bridge = Network(paths).bridge
            return (
                f"The host's firewall drops what it forwards, so machines reach nothing outside: allow {bridge}, "
                f"such as with `iptables -I FORWARD -i {bridge} -j ACCEPT; iptables -I FORWARD -o {bridge} -j ACCEPT`."
            )
    return None


def teardown(paths: Paths) -> list[str]:
    """Remove every machine of a tabletop, and all that the kernel holds for it; the cache stays.

    Works from what is there, so it also cleans up after a crash, a reboot, or lost records.

    Returns:
        What was removed, for a person to read.
    """
    removed: list[str] = []
    machines = Machines(paths)
    directories = paths.machines.iterdir() if paths.machines.is_dir() else ()
    for name in sorted(directory.name for directory in directories if directory.is_dir()):
        machines.destroy(name)
        removed.append(f"machine {name}")
    removed += _end_stray_groups(paths)
    removed += [f"mount {point}" for point in unmount_below(paths.machines)]
    removed += Network(paths).remove()
    for directory in (paths.machines, paths.locks):
        remove_tree(directory)
    if not _others_exist():
        removed += restore_limits()
    return removed


def _end_stray_groups(paths: Paths) -> list[str]:
    hierarchies = Hierarchies.of_host()
    removed: list[str] = []
    parent = hierarchies.unified / cgroup("")
    for group in sorted(parent.glob(f"{paths.tag}-*")):
        if hierarchies.kill(cgroup(group.name)):
            removed.append(f"processes of {group.name}")
        hierarchies.remove(cgroup(group.name))
    for root in hierarchies.roots():
        # Stays while another tabletop has machines in it.
        if (root / cgroup("")).is_dir() and not any(path.is_dir() for path in (root / cgroup("")).iterdir()):
            (root / cgroup("")).rmdir()
    return removed


def _others_exist() -> bool:
    """Whether another tabletop of this host still has a network."""
    if not succeeds(["nft", "--version"]):
        return False
    tables = run(["nft", "list", "tables", "ip"])
    return bool(re.search(r"^table ip (tabletop|tt[0-9a-f]{6})$", tables, re.MULTILINE))
