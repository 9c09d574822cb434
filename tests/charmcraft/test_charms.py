"""charmcraft takes the charms as they are, and packs what tabletop packs."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml
from chain import ROOT
from conftest import Charmcraft

CHARM = "gateway"
"""The one that is packed: it has the most packages of the workspace."""

# What an installer writes of itself, and what the packers write by themselves: charmcraft a script that activates the
# virtual environment, tabletop the commit in `version`.
INSTALLERS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
ONLY_CHARMCRAFT = {"venv/bin/activate"}
ONLY_TABLETOP = {"version"}
DIFFERENT = {"dispatch", "venv/pyvenv.cfg"}


@pytest.mark.parametrize("name", sorted(folder.parent.name for folder in ROOT.glob("charms/*/charmcraft.yaml")))
def test_charmcraft_takes_the_project_file(charmcraft: Charmcraft, name: str):
    done = charmcraft("expand-extensions", folder=ROOT / "charms" / name)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["name"] == name


def test_a_key_that_charmcraft_does_not_know_is_refused(charmcraft: Charmcraft, repository: Path):
    """It is charmcraft's opinion that the test above asks."""
    file = repository / "charms" / CHARM / "charmcraft.yaml"
    file.write_text(file.read_text().replace("python-requirements:", "python-requires:"))
    done = charmcraft("expand-extensions", folder=file.parent)
    assert done.returncode != 0
    assert "python-requires" in done.stderr


def test_charmcraft_and_tabletop_pack_the_same(charmcraft: Charmcraft, repository: Path, tmp_path: Path):
    folder = repository / "charms" / CHARM
    done = charmcraft("pack", "--destructive-mode", folder=folder)
    assert done.returncode == 0, done.stderr
    (ours,) = folder.glob("*.charm")
    theirs = tmp_path / f"{CHARM}.charm"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src/tabletop"), "TABLETOP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "tabletop", "pack", repository / "charms" / CHARM, "-o", theirs]
    subprocess.run(command, env=environment, check=True)
    by_charmcraft, by_tabletop = dict(contents(ours)), dict(contents(theirs))
    assert by_charmcraft.keys() - by_tabletop.keys() == ONLY_CHARMCRAFT
    assert by_tabletop.keys() - by_charmcraft.keys() == ONLY_TABLETOP
    differing = {name for name, data in by_tabletop.items() if by_charmcraft.get(name, data) != data}
    assert {name for name in differing if not name.endswith(".yaml")} == DIFFERENT
    for name in ("metadata.yaml", "config.yaml", "actions.yaml"):
        assert yaml.safe_load(by_charmcraft[name]) == yaml.safe_load(by_tabletop[name])


def contents(charm: Path) -> Iterator[tuple[str, bytes]]:
    """Return the files of a packed charm that aren't byte code or an installer's notes of itself."""
    with zipfile.ZipFile(charm) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.suffix != ".pyc" and path.name not in INSTALLERS and not name.endswith("/"):
                yield name, archive.read(name)
