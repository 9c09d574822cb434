"""The daemon as a process: killed at the worst moment, asked from two shells, started twice."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import OneDaemon, end, paths_in, spawn, variables
from world import PATIENCE, World, pack

from tabletop.client import RemoteError
from tabletop.engine.faults import StateError
from tabletop.engine.keeper import MachineKeeper
from tabletop.engine.store import VERSION


class Daemon:
    """A daemon of its own state directory, and a client of it."""

    def __init__(self, directory: Path) -> None:
        self.paths = paths_in(directory)
        self.client = OneDaemon(self.paths)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = spawn(self.paths)
        wait(self.client.running)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def call(self, method: str, **params: object) -> object:
        return self.client.call(method, None, **params)

    def unit(self, name: str) -> dict[str, dict[str, str]]:
        return self.client.call("status", model="m")["applications"][name.partition("/")[0]]["units"][name]


def wait(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come true")


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def idle(daemon: Daemon, *units: str) -> bool:
    return all(daemon.unit(name)["juju-status"]["current"] == "idle" for name in units)


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Daemon]:
    made = Daemon(short_path)
    try:
        made.start()
        yield made
        if made.process is not None and made.process.poll() is None:
            made.call("destroy_model", name="m")
            made.call("shutdown")
            assert made.process.wait(PATIENCE) == 0
    finally:
        if made.process is not None:
            end(made.process)


def packed(directory: Path, name: str) -> str:
    script = (Path(__file__).parent / "charms/common/dispatch.sh").read_text().replace("@world@", str(directory))
    return str(pack(name, directory, script))


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines()] if path.exists() else []


def test_killed_in_the_middle_of_a_hook_it_ends_that_hook_and_runs_it_again(short_path: Path, daemon: Daemon) -> None:
    behaviour = short_path / "behaviour" / "any"
    behaviour.mkdir(parents=True)
    (behaviour / "config-changed").write_text(
        f"[ -e {short_path}/go ] || {{ relation-set -r 0 half=done; echo $$ > {short_path}/pid; sleep 600; }}\n"
    )
    daemon.call("add_model", name="m")
    daemon.call("deploy", model="m", charm=packed(short_path, "provider"), app="db")
    wait((short_path / "pid").exists)
    time.sleep(0.1)
    hanging = int((short_path / "pid").read_text())
    daemon.kill()
    assert alive(hanging), "the hook outlives the daemon"
    (short_path / "go").touch()
    daemon.start()
    wait(lambda: idle(daemon, "db/0"))
    assert not alive(hanging), "and is ended by the next one"
    events = lines(short_path / "events")
    assert events == [
        "db/0 install",
        "db/0 cluster-relation-created db",
        "db/0 leader-elected",
        "db/0 config-changed",
        "db/0 config-changed",
        "db/0 start",
    ]
    answer = daemon.client.call("exec", model="m", target="db/0", script="relation-get -r 0 half db/0")
    assert answer.get("stdout", "") in ("", "\n"), "the half-done hook committed nothing"


def test_killed_in_the_middle_of_an_action_it_says_so(short_path: Path, daemon: Daemon) -> None:
    behaviour = short_path / "behaviour" / "any"
    behaviour.mkdir(parents=True)
    (behaviour / "action-greet").write_text(f"action-log begun; touch {short_path}/begun; sleep 600\n")
    daemon.call("add_model", name="m")
    daemon.call("deploy", model="m", charm=packed(short_path, "provider"), app="db")
    daemon.call("run_action", model="m", units=["db/0"], action="greet", params={"count": 1})
    wait((short_path / "begun").exists)
    daemon.kill()
    daemon.start()
    task = daemon.client.call("wait_task", model="m", id="1")
    assert (task["status"], task["message"]) == ("aborted", "tabletop ended while it ran")
    assert task["log"][0].endswith("begun")
    wait(lambda: idle(daemon, "db/0"))


def test_killed_again_and_again_it_loses_no_command_and_settles(short_path: Path, daemon: Daemon) -> None:
    provider, requirer = packed(short_path, "provider"), packed(short_path, "requirer")
    commands = [
        ("add_model", {"name": "m"}),
        ("deploy", {"model": "m", "charm": provider, "app": "db", "num_units": 2}),
        ("deploy", {"model": "m", "charm": requirer, "app": "app"}),
        ("integrate", {"model": "m", "a": "app:db", "b": "db"}),
        ("set_config", {"model": "m", "app": "db", "values": {"port": "7"}}),
        ("add_unit", {"model": "m", "app": "app"}),
        ("remove_unit", {"model": "m", "unit": "db/0"}),
    ]
    for method, params in commands:
        daemon.call(method, **params)
        daemon.kill()
        daemon.start()
        time.sleep(0.05)
    wait(lambda: len(daemon.client.call("status", model="m")["machines"]) == 3)
    wait(lambda: idle(daemon, "db/1", "app/0", "app/1"))
    assert daemon.unit("db/1")["leader"]
    answer = daemon.client.call("exec", model="m", target="app/1", script="relation-list -r 1; config-get port")
    assert answer["stdout"].split() == ["db/1", "5432"]
    assert daemon.client.call("get_config", model="m", app="db")["settings"]["port"]["value"] == 7


def test_a_second_daemon_is_refused_and_the_socket_is_for_root_alone(daemon: Daemon) -> None:
    argv = [sys.executable, "-m", "tabletop.daemon"]
    second = subprocess.run(
        argv, env={**os.environ, **variables(daemon.paths)}, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert "a daemon runs already" in second.stderr
    assert (daemon.paths.run / "api.sock").stat().st_mode & 0o777 == 0o600
    daemon.call("add_model", name="m")


def test_wrong_requests_get_an_answer(daemon: Daemon) -> None:
    daemon.call("add_model", name="m")
    for method, params, kind in (
        ("nope", {}, "TabletopError"),
        ("stop", {}, "TabletopError"),
        ("_model", {"name": "m"}, "TabletopError"),
        ("status", {}, "TabletopError"),
        ("status", {"model": "m", "extra": 1}, "TabletopError"),
        ("status", {"model": "gone"}, "not-found"),
    ):
        with pytest.raises(RemoteError) as caught:
            daemon.call(method, **params)
        assert caught.value.kind == kind
    assert daemon.client.call("ping")["pid"] == daemon.process.pid  # type: ignore[union-attr]


def test_two_shells_at_once_and_progress_of_a_task(short_path: Path, daemon: Daemon) -> None:
    behaviour = short_path / "behaviour" / "any"
    behaviour.mkdir(parents=True)
    (behaviour / "action-greet").write_text("for i in 1 2 3; do action-log step $i; done\n")
    daemon.call("add_model", name="m")
    charm = packed(short_path, "provider")
    names = [f"db{number}" for number in "abcd"]
    threads = [
        threading.Thread(target=lambda name=name: daemon.call("deploy", model="m", charm=charm, app=name))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait(lambda: idle(daemon, *(f"{name}/0" for name in names)))
    daemon.call("run_action", model="m", units=["dba/0"], action="greet", params={"count": 1})
    told: list[str] = []
    daemon.client.call("wait_task", told.append, model="m", id="1")
    assert [line.partition(" ")[2] for line in told] == ["step 1", "step 2", "step 3"]


def test_a_restart_in_one_process_goes_on_where_it_was(world: World) -> None:
    world.deploy("provider", "db")
    world.restart()
    world.settle()
    world.restart()
    world.settle()
    assert world.events("db/0").count("start") == 1


_LATER_COLUMNS = (
    ("model", "constraints"),
    ("application", "storage"),
    ("machine", "incarnation"),
    ("machine", "off_until"),
    ("unit", "principal"),
    ("storage", "size"),
    ("storage", "life"),
    ("storage", "read_only"),
    ("task", "operation"),
)


def test_a_hook_that_is_run_again_finds_its_tools_however_busy_the_machine_s_keeper_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy("provider", "db")
    world.settle()
    step = MachineKeeper._step

    def step_late(keeper: MachineKeeper) -> bool:
        time.sleep(0.5)
        return step(keeper)

    monkeypatch.setattr(MachineKeeper, "_step", step_late)
    world.restart()
    assert world.out("db/0", "is-leader") == "True"


def test_a_model_of_the_first_builds_is_taken_along_and_one_of_a_later_build_is_refused(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.settle()
    world.controller.add_model("other")
    world.controller.stop()
    path = world.directory / "state/models/m/model.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DROP TABLE unit_sequence")
        for table, column in _LATER_COLUMNS:
            database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 0")
    world.restart()
    assert world.controller.add_unit("m", "db") == {"units": ["db/2"]}
    world.settle()
    world.controller.stop()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")
    world.restart()
    assert world.controller.status("other")["applications"] == {}, "the other models are none the worse for it"
    with pytest.raises(StateError, match="written by a newer tabletop"):
        world.status()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA user_version = {VERSION}")
    assert sorted(world.units()) == ["db/0", "db/1", "db/2"]
