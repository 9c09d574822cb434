"""Daemons that ship in a charm, copied out of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from iot_charm.errors import DistributionError
from iot_charm.workload import ensure_python_workload


@pytest.fixture
def charm(tmp_path: Path) -> Path:
    packages = tmp_path / "charm/venv/lib/python3.11/site-packages"
    (packages / "daemon").mkdir(parents=True)
    (packages / "daemon/__init__.py").write_text("VERSION = 1\n")
    (packages / "daemon/__main__.py").write_text("from daemon import VERSION\nprint(VERSION)\n")
    return tmp_path / "charm"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "opt").mkdir()
    return tmp_path / "opt"


def run(prefix: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(prefix / "daemon")}
    return subprocess.check_output([sys.executable, "-m", "daemon"], env=environment, text=True).strip()


def refresh(charm: Path, version: int) -> None:
    (charm / "venv/lib/python3.11/site-packages/daemon/__init__.py").write_text(f"VERSION = {version}\n# refreshed\n")


def test_the_daemon_runs_from_its_copy(charm: Path, prefix: Path):
    assert ensure_python_workload("daemon", charm, prefix=prefix)
    assert run(prefix) == "1"
    assert list((prefix / "daemon/daemon/__pycache__").iterdir())


def test_packages_of_the_lib_folder_come_along(charm: Path, prefix: Path):
    package = charm / "lib/daemon"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 'of the workspace'\n")
    assert ensure_python_workload("daemon", charm, prefix=prefix)
    assert run(prefix) == "of the workspace"
    (package / "__init__.py").write_text("VERSION = 'of the workspace, refreshed'\n")
    assert ensure_python_workload("daemon", charm, prefix=prefix)
    assert run(prefix) == "of the workspace, refreshed"
    assert not ensure_python_workload("daemon", charm, prefix=prefix)


def test_a_second_call_changes_nothing(charm: Path, prefix: Path):
    ensure_python_workload("daemon", charm, prefix=prefix)
    assert not ensure_python_workload("daemon", charm, prefix=prefix)


def test_the_same_code_from_another_folder_is_no_change(charm: Path, prefix: Path):
    ensure_python_workload("daemon", charm, prefix=prefix)
    moved = charm.rename(charm.with_name("unpacked-again"))
    os.utime(moved / "venv/lib/python3.11/site-packages/daemon/__init__.py", (1, 1))
    assert not ensure_python_workload("daemon", moved, prefix=prefix)


def test_new_code_takes_over_and_the_former_stays_for_the_daemon_that_runs_it(charm: Path, prefix: Path):
    ensure_python_workload("daemon", charm, prefix=prefix)
    first = (prefix / "daemon").resolve()
    refresh(charm, 2)
    assert run(prefix) == "1"
    assert ensure_python_workload("daemon", charm, prefix=prefix)
    assert run(prefix) == "2"
    assert first.is_dir()
    refresh(charm, 3)
    ensure_python_workload("daemon", charm, prefix=prefix)
    assert not first.exists()
    assert run(prefix) == "3"


def test_what_was_left_half_copied_is_done_again(charm: Path, prefix: Path):
    ensure_python_workload("daemon", charm, prefix=prefix)
    target = (prefix / "daemon").resolve()
    target.rename(target.with_name(f".{target.name}.partial"))
    (prefix / "daemon").unlink()
    assert ensure_python_workload("daemon", charm, prefix=prefix)
    assert run(prefix) == "1"


def test_a_flat_folder_of_packages(tmp_path: Path, prefix: Path):
    (tmp_path / "charm/venv/iot_charm").mkdir(parents=True)
    assert ensure_python_workload("daemon", tmp_path / "charm", prefix=prefix)
    assert (prefix / "daemon/iot_charm").is_dir()


def test_a_charm_without_packages(tmp_path: Path, prefix: Path):
    with pytest.raises(DistributionError, match="holds no Python packages"):
        ensure_python_workload("daemon", tmp_path, prefix=prefix)


def test_byte_code_that_came_along_is_kept(charm: Path, prefix: Path):
    packages = charm / "venv/lib/python3.11/site-packages/daemon"
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", packages]
    subprocess.run(command, check=True)
    (compiled,) = packages.glob("__pycache__/__init__.*.pyc")
    ensure_python_workload("daemon", charm, prefix=prefix)
    assert (prefix / "daemon/daemon/__pycache__" / compiled.name).read_bytes() == compiled.read_bytes()
