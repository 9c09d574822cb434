import os
import pwd
import tarfile
from pathlib import Path

import pytest

from iot_charm import distribution
from iot_charm.distribution import ensure_installed
from iot_charm.errors import DistributionError


def build(path: Path, content: str, *, tops: tuple[str, ...] = ("thing-1.0",)) -> Path:
    source = path.parent / f"{path.name}.source"
    with tarfile.open(path, "w:gz") as archive:
        for top in tops:
            file = source / top / "bin" / "run"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            archive.add(source / top, arcname=top)
    return path


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    path = tmp_path / "opt"
    path.mkdir()
    return path


def test_installs_and_links(tmp_path: Path, prefix: Path):
    archive = build(tmp_path / "thing.tar.gz", "one")
    assert ensure_installed(archive, "thing", prefix=prefix)
    link = prefix / "thing"
    assert link.is_symlink()
    assert (link / "bin" / "run").read_text() == "one"
    assert (link / "bin" / "run").owner() == pwd.getpwuid(os.geteuid()).pw_name


def test_the_same_archive_is_neither_unpacked_nor_read_again(
    tmp_path: Path, prefix: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = build(tmp_path / "thing.tar.gz", "one")
    ensure_installed(archive, "thing", prefix=prefix)

    def read(*_: object) -> None:
        raise AssertionError("the archive was read")

    monkeypatch.setattr(distribution.hashlib, "file_digest", read)
    assert not ensure_installed(archive, "thing", prefix=prefix)


def test_the_same_content_under_a_new_name_changes_nothing(tmp_path: Path, prefix: Path):
    archive = build(tmp_path / "thing.tar.gz", "one")
    ensure_installed(archive, "thing", prefix=prefix)
    copy = tmp_path / "copy.tar.gz"
    copy.write_bytes(archive.read_bytes())
    assert not ensure_installed(copy, "thing", prefix=prefix)


def test_a_new_archive_replaces_the_old_and_spares_the_neighbours(tmp_path: Path, prefix: Path):
    (prefix / "thing-else").mkdir()
    ensure_installed(build(tmp_path / "a.tar.gz", "one"), "thing", prefix=prefix)
    old = (prefix / "thing").resolve()
    assert ensure_installed(build(tmp_path / "b.tar.gz", "two"), "thing", prefix=prefix)
    assert (prefix / "thing" / "bin" / "run").read_text() == "two"
    assert not old.exists()
    assert {path.name for path in prefix.iterdir() if path.name.startswith("thing")} == {
        "thing",
        "thing-else",
        (prefix / "thing").resolve().name,
    }


def test_a_lost_record_is_made_again(tmp_path: Path, prefix: Path):
    archive = build(tmp_path / "a.tar.gz", "one")
    ensure_installed(archive, "thing", prefix=prefix)
    (prefix / ".thing.json").write_text("not json")
    assert not ensure_installed(archive, "thing", prefix=prefix)
    (prefix / "thing").unlink()
    assert ensure_installed(archive, "thing", prefix=prefix)
    assert (prefix / "thing" / "bin" / "run").read_text() == "one"


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "missing", "two folders"])
def test_a_bad_archive_is_named_and_leaves_the_old_installation(tmp_path: Path, prefix: Path, damage: str):
    ensure_installed(build(tmp_path / "good.tar.gz", "one"), "thing", prefix=prefix)
    before = sorted(path.name for path in prefix.iterdir())
    bad = build(tmp_path / "bad.tar.gz", os.urandom(20000).hex())
    match damage:
        case "cut":
            bad.write_bytes(bad.read_bytes()[:-200])
        case "empty":
            bad.write_bytes(b"")
        case "garbage":
            bad.write_bytes(b"no tarball" * 100)
        case "missing":
            bad.unlink()
        case _:
            build(bad, "x", tops=("one", "two"))
    with pytest.raises(DistributionError, match=r"bad\.tar\.gz .*attach"):
        ensure_installed(bad, "thing", prefix=prefix)
    assert sorted(path.name for path in prefix.iterdir()) == before
    assert (prefix / "thing" / "bin" / "run").read_text() == "one"
