"""What is written into control groups, on a host with either version of them."""

from pathlib import Path

from tabletop.cgroups import Hierarchies
from tabletop.quotas import Limits, impose, unenforceable

WANTED = Limits(memory=1 << 30, cores=2)


def test_version_1(tmp_path: Path) -> None:
    found = Hierarchies(tmp_path / "unified", {"memory": tmp_path / "memory", "cpu": tmp_path / "cpu"})
    for controller in ("memory", "cpu"):
        (tmp_path / controller / "m").mkdir(parents=True)
    assert impose(found, "m", WANTED) == []
    assert (tmp_path / "memory/m/memory.limit_in_bytes").read_text() == "1073741824"
    assert (tmp_path / "cpu/m/cpu.cfs_quota_us").read_text() == "200000"
    assert unenforceable(found) == []


def test_version_2(tmp_path: Path) -> None:
    found = Hierarchies(tmp_path, {})
    (tmp_path / "m").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io pids\n")
    assert impose(found, "m", WANTED) == []
    assert (tmp_path / "m/memory.max").read_text() == "1073741824"
    assert (tmp_path / "m/cpu.max").read_text() == "200000 100000"
    assert unenforceable(found) == ["memory"]


def test_a_host_that_can_t(tmp_path: Path) -> None:
    assert impose(Hierarchies(tmp_path, {}), "missing", WANTED) == ["memory", "cores"]
    assert impose(Hierarchies(tmp_path, {}), "missing", Limits()) == []
    assert unenforceable(Hierarchies(tmp_path, {"memory": tmp_path})) == ["cores"]


def test_properties_of_a_unit_of_systemd() -> None:
    assert WANTED.properties() == ["--property=MemoryMax=1073741824", "--property=CPUQuota=200%"]
    assert Limits().properties() == []
