"""What the host lacks: taken away for real where that can be done in a process of its own, else as a text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tabletop import hostcheck
from tabletop.cgroups import Hierarchies
from tabletop.errors import TabletopError
from tabletop.hostcheck import check_control_groups, check_directories, check_kernel, check_rights
from tabletop.paths import Paths

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, rules and other users need root")
_CHECK = """\
import sys
from pathlib import Path
from tabletop.errors import TabletopError
from tabletop.host import preflight
from tabletop.paths import Paths
root = Path(sys.argv[1])
try:
    preflight(Paths(root / "state", root / "cache", root / "run"))
except TabletopError as error:
    print(error)
"""


def preflight(tmp_path: Path, *wrapper: str) -> str:
    """What is said on a host that is as a program makes it."""
    argv = [*wrapper, sys.executable, "-c", _CHECK, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_mounts_of_its_own(tmp_path: Path, change: str) -> str:
    """What is said once a script has changed the mounts; the host's stay as they are."""
    return preflight(
        tmp_path, "unshare", "--mount", "/bin/sh", "-c", f'set -e; root={tmp_path}; {change}; exec "$@"', "sh"
    )


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    made.state.mkdir()
    return made


@pytest.mark.parametrize("right", ["sys_admin", "net_admin", "mknod"])
def test_a_container_that_lacks_a_right(tmp_path: Path, right: str) -> None:
    said = preflight(tmp_path, "setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}")
    assert said.startswith(f"root lacks CAP_{right.upper()} here, without which no machine can be made or mounted: ")
    assert "docker run --privileged" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "state").exists(), "nothing was touched"


def test_rights_are_read_as_the_kernel_writes_them() -> None:
    check_rights("Name:\tx\nCapEff:\t000001ffffffffff\n")
    with pytest.raises(TabletopError, match=r"root lacks CAP_CHOWN, CAP_MKNOD here"):
        check_rights("CapEff:\t000001fff7fffffe\n")


@pytest.mark.parametrize(("folder", "variable"), [("state", "STATE"), ("cache", "CACHE"), ("run", "RUN")])
def test_a_directory_that_is_read_only(tmp_path: Path, folder: str, variable: str) -> None:
    (tmp_path / folder).mkdir()
    said = in_mounts_of_its_own(
        tmp_path, f"mount --bind $root/{folder} $root/{folder}; mount -o remount,bind,ro $root/{folder}"
    )
    assert said.startswith(f"{tmp_path}/{folder} can't be written to (Read-only file system): make it writable, ")
    assert f"set TABLETOP_{variable} to another directory" in said


def test_a_disk_without_a_byte_free(tmp_path: Path) -> None:
    said = in_mounts_of_its_own(
        tmp_path, "mkdir $root/run; mount -t tmpfs -o size=4k none $root/run; echo full >$root/run/file"
    )
    assert "/run can't be written to (No space left on device): " in said


def test_a_directory_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(TabletopError, match=r"/cache can't be written to \(File exists\)"):
        check_directories(Paths(tmp_path / "state", tmp_path / "cache", tmp_path / "run"))


def test_control_groups_that_are_read_only(tmp_path: Path) -> None:
    unified = Hierarchies.of_host().unified
    said = in_mounts_of_its_own(tmp_path, f"mount -o remount,bind,ro {unified}")
    assert said.startswith(f"No control group can be made in {unified} (Read-only file system): mount /sys/fs/cgroup")


def test_a_read_only_sys(tmp_path: Path) -> None:
    # All of /sys as a container without privileges has it.
    said = in_mounts_of_its_own(
        tmp_path,
        "for m in $(awk '$5 ~ \"^/sys\" {print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro $m; done",
    )
    assert said.startswith("No control group can be made in ")


def test_a_host_without_control_groups_of_version_2(tmp_path: Path) -> None:
    unified = Hierarchies.of_host().unified
    said = in_mounts_of_its_own(tmp_path, f"umount -R {unified}")
    assert said == (
        "The host has no version 2 control groups (cgroup2) mounted: boot it with its distribution's defaults.\n"
    )


def test_a_disk_that_takes_no_overlay(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    # An overlay over an overlay: what a container's own root directory often is.
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, tmp_path / "root"], check=True)
    try:
        (tmp_path / "root/state").mkdir()
        with pytest.raises(TabletopError, match=r"can't mount an overlay in .*/root/state: set TABLETOP_STATE to a"):
            check_kernel(Paths(tmp_path / "root/state"))
        assert list((tmp_path / "root/state").iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path / "root"], check=True)


def test_a_kernel_without_overlays(paths: Paths) -> None:
    advice = hostcheck._overlay_advice(paths.state, "nodev\tsysfs\n\text4\n")  # pyright: ignore[reportPrivateUsage]
    assert advice.startswith("The kernel has no overlay file system: load it with `modprobe overlay`")


@pytest.mark.parametrize("what", list(hostcheck.NETWORK_PROBES))
def test_a_kernel_without_a_part_of_the_network(paths: Paths, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    modules, script = hostcheck.NETWORK_PROBES[what]
    # What the probe asks for is called as nothing in any kernel is.
    for kind in (" bridge", " veth", "masquerade"):
        script = script.replace(kind, " no-such-kind")
    monkeypatch.setattr(hostcheck, "NETWORK_PROBES", {**hostcheck.NETWORK_PROBES, what: (modules, script)})
    with pytest.raises(
        TabletopError, match=rf"The kernel has no {what}: load it with `modprobe -a {modules}`, or boot"
    ):
        check_kernel(paths)


@pytest.mark.parametrize("kind", hostcheck.NAMESPACES)
def test_a_kernel_that_gives_no_more_namespaces(tmp_path: Path, kind: str) -> None:
    """The limit is set for a user namespace, whose root is refused one more."""
    limit = f"/proc/sys/user/max_{kind.replace('mount', 'mnt')}_namespaces"
    code = (
        "import sys\nfrom pathlib import Path\nfrom tabletop.errors import TabletopError\n"
        "from tabletop.hostcheck import check_kernel\nfrom tabletop.paths import Paths\n"
        f"Path({limit!r}).write_text('0')\n"
        "try: check_kernel(Paths(Path(sys.argv[1])))\nexcept TabletopError as error: print(error)\n"
    )
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"The kernel gives no {kind} namespace: look at {limit} and at what the container")


def test_this_host_will_do(paths: Paths) -> None:
    check_rights()
    check_directories(paths)
    check_control_groups()
    check_kernel(paths)
    assert list(paths.state.iterdir()) == []
    assert list(Hierarchies.of_host().unified.glob("tabletop-probe-*")) == []
