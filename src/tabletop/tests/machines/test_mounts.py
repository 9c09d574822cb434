import os
import subprocess
from pathlib import Path

import pytest

from tabletop.mounts import free_bytes, is_mounted, mounts_below, parse_mountinfo, remove_tree, unmount_below

MOUNTINFO = (
    r"28 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard" + "\n"
    r"55 28 0:23 / /srv/with\040space\134 rw shared:1 master:2 - tmpfs none rw,size=1k" + "\n"
    r"56 28 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw" + "\n"
)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def test_mountinfo() -> None:
    root, odd, cgroup = parse_mountinfo(MOUNTINFO)
    assert root.point == Path("/")
    assert "discard" in root.options
    assert (odd.point, odd.kind) == (Path("/srv/with space\\"), "tmpfs")
    assert cgroup.kind == "cgroup2"


@as_root
def test_removal_spares_what_is_mounted_below(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    (tree / "inner/bound").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("precious")
    subprocess.run(["mount", "-t", "tmpfs", "none", tree / "inner"], check=True)
    (tree / "inner/bound").mkdir()
    subprocess.run(["mount", "--bind", outside, tree / "inner/bound"], check=True)
    try:
        assert is_mounted(tree / "inner")
        assert not is_mounted(tree)
        assert [mount.point for mount in mounts_below(tree)] == [tree / "inner/bound", tree / "inner"]
        with (tree / "inner/bound/file").open():  # busy, and yet it goes
            assert remove_tree(tree)
    finally:
        unmount_below(tree)
    assert not tree.exists()
    assert (outside / "file").read_text() == "precious"
    assert not remove_tree(tree)


def test_free_space_of_a_directory_to_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not/yet") == free_bytes(tmp_path) > 0
