from pathlib import Path

import pytest

from tabletop.cgroups import Groups, Hierarchies
from tabletop.errors import TabletopError

HYBRID = """\
30 28 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:26 / {root}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:27 / {root}/memory rw - cgroup cgroup rw,memory
33 30 0:28 / {root}/cpuset rw - cgroup cgroup rw,cpuset
34 30 0:29 / {root}/systemd rw - cgroup cgroup rw,name=systemd
35 30 0:30 / {root}/unified rw - cgroup2 cgroup2 rw
"""


def test_a_hybrid_host(tmp_path: Path) -> None:
    found = Hierarchies.of_host(HYBRID.format(root=tmp_path))
    assert found.unified == tmp_path / "unified"
    assert set(found.v1) == {"cpu", "cpuacct", "memory", "name=systemd"}
    made = found.make("tabletop/m/manager")
    assert set(made) == {
        tmp_path / name / "tabletop/m/manager" for name in ("cpu,cpuacct", "memory", "systemd", "unified")
    }
    assert all(path.is_dir() for path in made)
    assert found.remove("tabletop/m")
    assert not any((tmp_path / name / "tabletop/m").exists() for name in ("memory", "unified"))
    assert not found.remove("tabletop/m")


def test_a_current_host(tmp_path: Path) -> None:
    found = Hierarchies.of_host(f"35 30 0:30 / {tmp_path} rw - cgroup2 cgroup2 rw")
    assert found == Hierarchies(tmp_path, {})
    assert found.make("tabletop/m") == [tmp_path / "tabletop/m"]


def test_a_host_without_version_2() -> None:
    with pytest.raises(TabletopError, match="no version 2 control groups"):
        Hierarchies.of_host("32 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")


def test_memory_that_can_t_be_taken_back(tmp_path: Path) -> None:
    stat = tmp_path / "memory.stat"
    groups = Groups(tmp_path, {})
    assert groups.memory() is None
    stat.write_text("anon 1000\nfile 5000\nshmem 200\ninactive_file 7\n")
    assert groups.memory() == 1200
    stat.write_text("rss 1\ntotal_rss 300\ntotal_cache 9\ntotal_shmem 40\n")
    assert Groups(Path("/elsewhere"), {"memory": tmp_path}).memory() == 340


def test_from_the_first_process_to_the_machine() -> None:
    groups = Groups(Path("/g/payload/init.scope"), {"memory": Path("/m/manager")}).of_machine()
    assert groups == Groups(Path("/g/payload"), {"memory": Path("/m/manager")})


def test_the_host_as_it_is() -> None:
    hierarchies = Hierarchies.of_host()
    assert hierarchies.groups_of(2**22 + 1) is None
    groups = hierarchies.groups_of(1)
    assert groups is not None
    assert groups.unified.is_relative_to(hierarchies.unified)
    assert not hierarchies.kill("tabletop-test/none")
