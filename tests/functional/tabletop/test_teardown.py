"""Undoing everything, also what no record tells of any more."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabletop.cgroups import Hierarchies
from tabletop.host import teardown
from tabletop.machine import Machines
from tabletop.mounts import mounts_below
from tabletop.paths import Paths
from tabletop.processes import ProcessIdentity

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def own() -> Iterator[Paths]:
    state = Path(f"/var/tmp/tabletop-teardown-{os.getpid()}")
    paths = Paths(state, Paths.from_environment().cache, state / "run")
    yield paths
    teardown(paths)
    shutil.rmtree(state, ignore_errors=True)


def traces(paths: Paths) -> list[str]:
    """All that the host still has of a tabletop."""

    def lines(*argv: str) -> list[str]:
        text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        return [line for line in text.splitlines() if paths.tag in line]

    found = lines("ip", "link") + lines("ip", "netns") + lines("nft", "list", "tables") + lines("ps", "-eo", "args")
    found += [str(mount.point) for mount in mounts_below(paths.state)]
    found += [str(path) for root in Hierarchies.of_host().roots() for path in root.glob(f"tabletop/{paths.tag}-*")]
    found += [str(path) for path in paths.cache.glob(f"packages/*/{paths.tag}-*")]
    return found


def test_nothing_to_undo(own: Paths) -> None:
    assert teardown(own) == []


def test_machines_that_run_and_others(own: Paths) -> None:
    machines = Machines(own)
    for name in ("one", "two"):
        machines.create(name)
    machines.start("one")
    assert traces(own)
    removed = teardown(own)
    assert removed[:2] == ["machine one", "machine two"]
    assert f"network interface {own.tag}0" in removed
    assert f"nftables table ip {own.tag}" in removed
    assert traces(own) == []
    assert machines.names() == []
    assert not own.machines.exists()
    assert teardown(own) == []
    # And all can be made again.
    machines.create("one")
    machines.start("one")
    assert machines.run("one", ["true"]).returncode == 0


def test_a_machine_whose_manager_was_killed(own: Paths) -> None:
    machines = Machines(own)
    machines.create("one")
    machines.start("one")
    identity = ProcessIdentity.load(own.machines / "one/process")
    assert identity is not None
    identity.kill()
    assert identity.wait(10)
    assert "machine one" in teardown(own)
    assert traces(own) == []


def test_records_that_are_lost_or_spoilt(own: Paths) -> None:
    machines = Machines(own)
    for name in ("lost", "spoilt"):
        machines.create(name)
        machines.start(name)
    (own.machines / "lost/machine.json").unlink()
    (own.machines / "lost/process").unlink()
    (own.machines / "spoilt/machine.json").write_text("{")
    (own.machines / "spoilt/process").write_text("")
    (own.state / "network.json").unlink()
    removed = teardown(own)
    assert {"machine lost", "machine spoilt"} <= set(removed)
    assert traces(own) == []


def test_processes_of_a_state_directory_that_is_gone(own: Paths) -> None:
    machines = Machines(own)
    machines.create("one")
    machines.start("one")
    # A mount keeps the directory itself; the records in it go.
    for file in (own.machines / "one/machine.json", own.machines / "one/process"):
        file.unlink()
    moved = own.machines.with_name("elsewhere")
    subprocess.run(["umount", "--lazy", str(own.machines / "one/root")], check=True)
    own.machines.rename(moved)
    removed = teardown(own)
    assert f"processes of {own.tag}-one" in removed
    assert f"network namespace {own.tag}-one" in removed
    shutil.rmtree(moved)
    assert [trace for trace in traces(own) if "/packages/" not in trace] == []


def test_another_tabletop_is_left_alone(own: Paths, machines: Machines, pair: tuple[str, str]) -> None:
    other = Machines(own)
    other.create("one")
    other.start("one")
    assert other.address("one").rpartition(".")[0] != machines.address(pair[0]).rpartition(".")[0]
    assert not any("kernel setting" in line for line in teardown(own)), "the other one still needs them"
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    assert machines.run(pair[0], ["ping", "-c", "1", "-W", "5", pair[1]]).returncode == 0
