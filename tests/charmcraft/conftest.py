"""charmcraft, as it would run on the charms' base."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from chain import ROOT

BASE = {"ID": "ubuntu", "VERSION_ID": "24.04", "VERSION_CODENAME": "noble", "NAME": "Ubuntu"}
# In a mount namespace of its own, where /etc/os-release is another file. $1: that file, the rest: the command.
ELSEWHERE = 'mount --bind "$1" "$(readlink -f /etc/os-release)" && shift && exec "$@"'

# Modules of the package python3-apt, which is on no index; charmcraft asks them whether a package is installed.
APT = Path("/usr/lib/python3/dist-packages")
APT_MODULES = ("apt", "apt_pkg*.so", "aptsources")

Charmcraft = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def charmcraft(tmp_path: Path) -> Charmcraft:
    """Runs charmcraft in a folder, with this machine in the place of a build machine.

    charmcraft builds for a base on that base only. What it does there is make a virtual environment of the system's
    Python and copy files, which this machine's does as well: it is told that this is Ubuntu 24.04.
    """
    release = tmp_path / "os-release"
    release.write_text("".join(f'{key}="{value}"\n' for key, value in BASE.items()))
    modules = tmp_path / "modules"
    modules.mkdir()
    for path in (found for name in APT_MODULES for found in APT.glob(name)):
        (modules / path.name).symlink_to(path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(modules),
        # Not the Python of this environment, nor one that a developer has put before the system's.
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CHARMCRAFT_EXPERIMENTAL_MONOREPO": "1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    program = Path(sys.executable).with_name("charmcraft")

    def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--mount", "sh", "-ec", ELSEWHERE, "sh", str(release), str(program), *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the repository's files, those of the work tree, in which charmcraft may leave what it makes."""
    copy = tmp_path / "repository"
    copy.mkdir()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    there = [name for name in names if name and (ROOT / name).is_file()]
    subprocess.run(["cp", "--parents", "--archive", "--target-directory", copy, "--", *there], cwd=ROOT, check=True)
    subprocess.run(["git", "init", "--quiet", copy], check=True)
    return copy
