"""A disk that is full, and state files that are damaged: what is said, and that nothing is lost."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from leftovers import short_directory
from world import SETTINGS, World

from tabletop.engine.controller import Controller
from tabletop.engine.debuglog import DebugLog
from tabletop.engine.faults import StateError, explain
from tabletop.engine.store import Store

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
FULL = r"The disk of .*/m/model\.db is full: free some space and try again\. Nothing of this was written\."


class SmallDisk:
    """A file system of a few megabytes under a world's state."""

    def __init__(self, directory: Path) -> None:
        self.ballast = directory / "ballast"

    def fill(self) -> None:
        with self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                while True:
                    try:
                        file.write(b"\0" * size)
                    except OSError:
                        break

    def free(self) -> None:
        self.ballast.unlink()


@pytest.fixture
def cramped() -> Iterator[tuple[World, SmallDisk]]:
    with short_directory() as directory:
        state = directory / "state"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", state], check=True)
        try:
            world = World(directory)
            try:
                yield world, SmallDisk(state)
            finally:
                world.close()
        finally:
            subprocess.run(["umount", "--lazy", state], check=True)


@as_root
def test_a_full_disk_refuses_commands_and_goes_on_when_there_is_room(cramped: tuple[World, SmallDisk]) -> None:
    world, disk = cramped
    world.deploy("provider", "db")
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    before = world.controller.get_config("m", "db")
    disk.fill()
    # What the write-ahead log has allocated already has room for a little; this needs more.
    with pytest.raises(StateError, match=FULL):
        world.controller.add_secret("m", "large", {"key": "x" * 5_000_000})
    with pytest.raises(Exception, match=r"can't be taken into the model: No space left on device"):
        world.deploy("requirer", "again")
    assert world.controller.get_config("m", "db") == before, "what can be read is whole"
    disk.free()
    world.controller.set_config("m", "db", {"port": "7001"})
    world.settle()
    assert world.out("db/0", "config-get port") == "7001"


@as_root
def test_a_hook_whose_end_can_not_be_written_runs_again(cramped: tuple[World, SmallDisk]) -> None:
    world, disk = cramped
    world.deploy("provider", "db")
    world.settle()
    gate = world.directory / "gate"
    os.mkfifo(gate)
    # The databag is larger than what is left for it.
    world.behave(
        "db-0", "config-changed", f"cat {gate}; relation-set -r 0 key=$(head -c 90000 /dev/zero | tr '\\0' x)\n"
    )
    world.clear()
    world.controller.set_config("m", "db", {"port": "1"})
    world.until(lambda: world.events("db/0"))
    disk.fill()
    gate.write_text("go\n")
    world.forget("db-0", "config-changed")
    world.behave("db-0", "config-changed", "relation-set -r 0 key=small\n")
    world.until(lambda: "db/0 config-changed" in (world.directory / "done").read_text().splitlines()[-1])
    assert world.units()["db/0"]["juju-status"]["current"] == "executing"
    disk.free()
    world.settle()
    assert world.events("db/0") == ["config-changed", "config-changed"]
    assert world.out("db/0", "relation-get -r 0 key db/0") == "small"


@as_root
def test_an_action_whose_end_can_not_be_written_is_not_run_twice(cramped: tuple[World, SmallDisk]) -> None:
    world, disk = cramped
    world.deploy("provider", "db")
    world.settle()
    gate = world.directory / "gate"
    os.mkfifo(gate)
    world.behave("any", "action-greet", f"cat {gate}; action-set key=$(head -c 90000 /dev/zero | tr '\\0' x)")
    queued = world.controller.run_action("m", ["db/0"], "greet", {"count": 1})
    (task,) = queued["tasks"].values()
    world.clear()
    world.until(lambda: world.controller.running_tasks() == ["greet on db/0"])
    disk.fill()
    gate.write_text("go\n")
    world.until(lambda: not world.controller.running_tasks())
    disk.free()
    done = world.controller.wait_task(world.call, "m", task, timeout=30)
    assert done["status"] == "completed"
    assert len(done["results"]["key"]) == 90000


@as_root
def test_a_charm_that_does_not_fit_is_refused(cramped: tuple[World, SmallDisk]) -> None:
    world, disk = cramped
    charm = world.charm("provider")
    disk.fill()
    with pytest.raises(Exception, match=r"provider\.charm: can't be taken into the model: No space left on device"):
        world.controller.deploy("m", str(charm), "db")
    assert world.status()["applications"] == {}
    disk.free()
    world.controller.deploy("m", str(charm), "db")
    world.settle()


def test_a_damaged_model_is_named_and_the_others_go_on(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.controller.add_model("other")
    world.controller.stop()
    path = world.directory / "state/models/m/model.db"
    whole = path.read_bytes()
    path.write_bytes(b"not a database at all" * 400)
    world.controller = Controller(world.directory / "state", world.machines, SETTINGS)
    assert world.controller.status("other")["applications"] == {}
    assert [(model["name"], model["life"]) for model in world.controller.models()] == [
        ("m", "unreadable"),
        ("other", "alive"),
    ]
    with pytest.raises(
        StateError, match=r"/m/model\.db is damaged \(file is not a database\): put back a copy of it, or"
    ):
        world.controller.status("m")
    path.write_bytes(whole)
    assert list(world.status()["applications"]) == ["db"], "a copy that was put back is taken up"


@pytest.mark.parametrize("content", [b"", None])
def test_a_lost_model_can_be_removed_with_its_machines(world: World, content: bytes | None) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.controller.stop()
    path = world.directory / "state/models/m/model.db"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    world.controller = Controller(world.directory / "state", world.machines, SETTINGS)
    assert world.machines.is_running("m-0")
    with pytest.raises(StateError, match=r"/m/model\.db is damaged \(it holds no model\)"):
        world.deploy("provider", "again")
    world.controller.destroy_model(world.call, "m")
    assert world.lines[-1] == "destroying machine m-0"
    assert not world.machines.is_running("m-0")
    assert world.controller.models() == []
    world.controller.add_model("m")


def test_a_log_that_can_not_be_opened_for_want_of_room_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DebugLog(tmp_path / "log.db")
    log.add("db/0", "INFO", "test", "kept")
    log.close()

    def full(_path: Path) -> NoReturn:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("tabletop.engine.debuglog._open", full)
        with pytest.raises(StateError, match=r"The disk of .*/log\.db is full"):
            DebugLog(tmp_path / "log.db")
    log = DebugLog(tmp_path / "log.db")
    assert [line["message"] for line in log.read()] == ["kept"]
    log.close()


def test_a_damaged_log_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"rubbish" * 1000)
    log = DebugLog(path)
    log.add("controller", "INFO", "test", "hello")
    assert [line["message"] for line in log.read()] == ["hello"]
    log.close()
    assert (tmp_path / "log.db.damaged").read_bytes().startswith(b"rubbish")
    assert "a new one is begun" in caplog.text


@as_root
def test_a_log_without_room_loses_lines_and_says_so(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        log = DebugLog(tmp_path / "log.db")
        disk = SmallDisk(tmp_path)
        disk.fill()
        for number in range(100):
            log.add("controller", "INFO", "test", f"{number}" * 1000)
        disk.free()
        log.add("controller", "INFO", "test", "room again")
        messages = [line["message"] for line in log.read()]
        assert "room again" in messages
        assert messages[-1].endswith(" lines could not be written before")
        log.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_mistake_of_our_own_is_not_explained_away(tmp_path: Path) -> None:
    Store(tmp_path / "model.db").close()
    store = Store(tmp_path / "model.db")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        store.one("SELECT nonsense FROM model")
    store.close()
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY  # type: ignore[attr-defined]
    assert "can't be written or read" in str(explain(tmp_path, error))
