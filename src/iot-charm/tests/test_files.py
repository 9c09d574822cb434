import os
import pwd
import stat
from pathlib import Path

import pytest

from iot_charm import files

ME = pwd.getpwuid(os.geteuid()).pw_name


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_with_content_and_mode(tmp_path: Path):
    path = tmp_path / "a.conf"
    assert files.ensure_file(path, "grün\n", mode=0o640, owner=ME)
    assert path.read_bytes() == "grün\n".encode()
    assert mode_of(path) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_as_wanted_is_left_alone(tmp_path: Path):
    path = tmp_path / "a"
    files.ensure_file(path, b"x", owner=ME)
    before = path.stat()
    assert not files.ensure_file(path, "x", owner=ME)
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_content_of_the_same_length_is_replaced(tmp_path: Path):
    path = tmp_path / "a"
    path.write_text("one")
    assert files.ensure_file(path, "two", owner=ME)
    assert path.read_text() == "two"


def test_a_wrong_mode_alone_is_a_change(tmp_path: Path):
    path = tmp_path / "a"
    files.ensure_file(path, "x", owner=ME, mode=0o644)
    assert files.ensure_file(path, "x", owner=ME, mode=0o600)
    assert mode_of(path) == 0o600


def test_a_symbolic_link_is_replaced_not_followed(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    path = tmp_path / "a"
    path.symlink_to(elsewhere)
    assert files.ensure_file(path, "x", owner=ME)
    assert not path.is_symlink()


def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.ensure_file(path, "new", owner=ME)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user, which root alone may")
def test_owner_and_group(tmp_path: Path):
    path = tmp_path / "a"
    assert files.ensure_file(path, "x", owner="daemon", group="adm")
    assert (path.owner(), path.group()) == ("daemon", "adm")
    assert files.ensure_file(path, "x", owner="root", mode=0o644)
    assert (path.owner(), path.group()) == ("root", "root")
    folder = tmp_path / "d"
    assert files.ensure_directory(folder, owner="daemon", mode=0o2750)
    assert folder.owner() == "daemon"
    assert mode_of(folder) == 0o2750
    assert not files.ensure_directory(folder, owner="daemon", mode=0o2750)


def test_an_unknown_owner_is_an_error(tmp_path: Path):
    with pytest.raises(KeyError, match="nobody-of-that-name"):
        files.ensure_file(tmp_path / "a", "x", owner="nobody-of-that-name")


def test_a_directory_with_its_parents(tmp_path: Path):
    path = tmp_path / "a" / "b"
    assert files.ensure_directory(path, mode=0o700, owner=ME)
    assert mode_of(path) == 0o700
    assert not files.ensure_directory(path, mode=0o700, owner=ME)


def test_remove(tmp_path: Path):
    folder = tmp_path / "d"
    (folder / "e").mkdir(parents=True)
    dangling = tmp_path / "l"
    dangling.symlink_to(tmp_path / "nowhere")
    to_folder = tmp_path / "lf"
    to_folder.symlink_to(folder)
    assert files.remove(to_folder)
    assert folder.is_dir()
    assert files.remove(folder)
    assert files.remove(dangling)
    assert not files.remove(folder)
    assert list(tmp_path.iterdir()) == []
