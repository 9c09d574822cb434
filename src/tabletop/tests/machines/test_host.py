import os
import subprocess
import sys
from pathlib import Path

import pytest

import tabletop.host
from tabletop.errors import TabletopError
from tabletop.host import check_space, missing_packages, preflight
from tabletop.image import images_directory
from tabletop.paths import Paths

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, rules and other users need root")


@as_root
def test_another_user_than_root_is_told_so() -> None:
    # Imports come before the change of user: that user may not be let into the folder the packages are in.
    code = (
        "import os\nfrom tabletop.host import preflight\nfrom tabletop.paths import Paths\n"
        "from tabletop.errors import TabletopError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: preflight(Paths())\nexcept TabletopError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "tabletop makes machines, mounts and network interfaces: run it as root (sudo).\n", (
        done.stderr
    )


def test_packages_that_are_missing() -> None:
    assert missing_packages(["dpkg", "no-such-package", "apt"]) == ["no-such-package"]


@as_root
def test_the_command_that_installs_them_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabletop.host, "missing_packages", lambda: missing_packages(["dpkg", "one-thing", "another"]))
    with pytest.raises(
        TabletopError, match=r"lacks the package\(s\) one-thing another: run `apt-get install one-thing a"
    ):
        preflight(Paths(tmp_path / "state", tmp_path / "cache"))


@as_root
def test_a_full_disk_is_named(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(TabletopError, match=rf"{small_disk}/s needs 1\.0 GB free and has 0\.0 GB: .* TABLETOP_STATE"):
        check_space(Paths(small_disk / "s", tmp_path / "c"))
    cramped = Paths(tmp_path / "s", small_disk / "c")
    with pytest.raises(TabletopError, match=rf"{small_disk}/c needs 1\.5 GB free .* set TABLETOP_CACHE to"):
        check_space(cramped)
    (images_directory(cramped) / "an-image").mkdir(parents=True)
    check_space(cramped)


@as_root
def test_a_firewall_that_drops_is_noticed(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    # In a network namespace of its own: the host's rules are not for a test to change.
    code = (
        "import subprocess, sys\nfrom pathlib import Path\n"
        "from tabletop.host import firewall_advice\nfrom tabletop.paths import Paths\n"
        "paths = Paths(Path(sys.argv[1]))\nprint(firewall_advice(paths))\n"
        "subprocess.run(['nft', 'add table ip filter; add chain ip filter FORWARD "
        "{ type filter hook forward priority filter; policy drop; }'], check=True)\n"
        "print(firewall_advice(paths))\n"
    )
    argv = ["unshare", "--net", sys.executable, "-c", code, str(tmp_path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "None"
    assert f"allow {paths.tag}0" in said[1]
