"""A host whose first process is systemd: here a machine, in which a tabletop of its own makes a machine."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabletop.boot import Bind
from tabletop.host import PACKAGES
from tabletop.image import images_directory
from tabletop.machine import Machines
from tabletop.paths import Paths

pytestmark = pytest.mark.timeout(600)

# Runs in the outer machine. The image is the outer host's: building one there would prove nothing more.
_INSIDE = """
import subprocess, sys, time
from pathlib import Path
from tabletop.boot import host_runs_systemd
from tabletop.host import check_kernel, teardown
from tabletop.machine import Machines, NotRunningError
from tabletop.machine_store import Machine, MachineStore
from tabletop.network import Network
from tabletop.paths import Paths

paths = Paths(cache=Path("/var/lib/tabletop/cache"))
image, kind = sys.argv[1:]
assert host_runs_systemd()
check_kernel(paths)
machines, network = Machines(paths, print), Network(paths)
MachineStore(paths).save(Machine("in-0", 2, network.address(2), image, kind, "c4e0045c-2e6e-4ce9-ae2f-cc0643442fcc"))
MachineStore(paths).save_binds("in-0", [])
def unit():
    argv = ["systemctl", "is-active", "tabletop-in-0"]
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()
machines.start("in-0")
print("unit", unit())
print("inside", machines.run("in-0", ["systemctl", "is-system-running"]).stdout.strip())
boot = machines.run("in-0", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
machines.run("in-0", ["systemctl", "reboot"], timeout=30)
deadline = time.monotonic() + 30
again = boot
while again in ("", boot) and time.monotonic() < deadline:
    time.sleep(0.2)
    try:
        again = machines.run("in-0", ["cat", "/proc/sys/kernel/random/boot_id"], timeout=10).stdout
    except (NotRunningError, subprocess.TimeoutExpired):
        pass  # on its way down, or up
print("rebooted", again not in ("", boot))
machines.stop("in-0")
print("stopped", machines.is_running("in-0"), unit())
machines.start("in-0")
print("removed", teardown(paths))
print("unit", unit())
"""


@pytest.fixture
def inner_state() -> Iterator[Path]:
    """A directory of this host's disk: an overlay can't lie over the outer machine's own."""
    directory = Path(f"/var/tmp/tabletop-inner-{os.getpid()}")
    (directory / "cache/images").mkdir(parents=True)
    yield directory
    shutil.rmtree(directory)


def test_a_machine_is_a_unit_there(machines: Machines, paths: Paths, inner_state: Path) -> None:
    interpreter = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3] / "src"]
    binds = [Bind(path, str(path), read_only=True) for path in dict.fromkeys(interpreter) if path != Path("/usr")]
    binds += [
        Bind(inner_state, "/var/lib/tabletop"),
        Bind(images_directory(paths), "/var/lib/tabletop/cache/images", read_only=True),
    ]
    outer = machines.create("outer", binds=binds)
    machines.start("outer")
    try:
        packages = [package for package in PACKAGES if package != "mmdebstrap"]
        machines.run("outer", ["apt-get", "install", "-y", *packages], check=True)
        argv = [sys.executable, "-c", _INSIDE, outer.image, outer.kind]
        done = machines.run("outer", argv, timeout=240)
        print(done.stdout, done.stderr)
        assert done.returncode == 0
        said = done.stdout.splitlines()
        assert "unit active" in said
        assert "inside running" in said
        assert "rebooted True" in said
        assert "stopped False inactive" in said
        removed = next(line for line in said if line.startswith("removed"))
        assert "machine in-0" in removed
        assert "network interface tabletop0" in removed
        assert said[-1] == "unit inactive"
    finally:
        machines.destroy("outer")
    assert not subprocess.run(["pgrep", "-f", f"{inner_state}/"], capture_output=True, check=False).stdout
