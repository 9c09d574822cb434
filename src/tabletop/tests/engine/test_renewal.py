"""A daemon of older code, replaced between two commands while hooks and actions run; commands from several shells."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import end, paths_in, spawn
from world import PATIENCE, pack

from tabletop.client import Client, RemoteError
from tabletop.paths import Paths


class Shell(Client):
    """A client that runs some code, and starts daemons of it on machines that are folders."""

    def __init__(self, paths: Paths, code: str, monkeypatch: pytest.MonkeyPatch, patience: float = 20) -> None:
        super().__init__(paths)
        self.paths = paths
        self.patience = patience
        self.processes: list[subprocess.Popen[bytes]] = []
        self.become(code, monkeypatch)

    def become(self, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run other code from now on."""
        self.code = code
        monkeypatch.setattr("tabletop.client.code_hash", lambda: self.code)

    def _start(self) -> bool:
        more = {"TABLETOP_TEST_CODE": self.code, "TABLETOP_TEST_PATIENCE": str(self.patience)}
        self.processes.append(spawn(self.paths, **more))
        until(self.running)
        return True


def until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come true")


@pytest.fixture
def shell(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr("tabletop.client.why_unfit", lambda: None)
    made = Shell(paths_in(short_path), "old", monkeypatch)
    try:
        made.start()
        yield made
        made.request("destroy_model", name="m")
        made.request("shutdown")
        for process in made.processes:
            assert process.wait(PATIENCE) == 0
    finally:
        for process in made.processes:
            end(process)


@pytest.fixture
def gate(short_path: Path, shell: Shell) -> Path:
    """A deployed unit `db/0`, and a pipe that its behaviour may wait at."""
    script = (Path(__file__).parent / "charms/common/dispatch.sh").read_text().replace("@world@", str(short_path))
    shell.call("add_model", name="m")
    shell.call("deploy", model="m", charm=str(pack("provider", short_path, script)), app="db")
    until(lambda: idle(shell))
    os.mkfifo(short_path / "gate")
    (short_path / "behaviour/any").mkdir(parents=True)
    (short_path / "events").unlink()
    return short_path / "gate"


def unit(shell: Shell) -> dict[str, dict[str, str]]:
    return shell.request("status", model="m")["applications"]["db"]["units"]["db/0"]


def idle(shell: Shell) -> bool:
    return unit(shell)["juju-status"]["current"] == "idle"


def behave(gate: Path, hook: str, script: str) -> None:
    (gate.parent / "behaviour/any" / hook).write_text(f"{script}\n")


def events(gate: Path) -> list[str]:
    path = gate.parent / "events"
    return [line.strip() for line in path.read_text().splitlines()] if path.exists() else []


def test_a_hook_that_runs_comes_to_its_end_first(shell: Shell, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(gate, "config-changed", f"cat {gate}; relation-set -r 0 key=value")
    shell.call("set_config", model="m", app="db", values={"port": "1"})
    until(lambda: events(gate))
    shell.become("new", monkeypatch)
    said: list[str] = []
    answers: list[object] = []
    command = threading.Thread(target=lambda: answers.append(shell.call("status", said.append, model="m")))
    command.start()
    until(lambda: not shell.running())
    gate.write_text("go\n")
    command.join(PATIENCE)
    assert said == ["tabletop's code has changed: its daemon is replaced; machines run on"]
    assert len(answers) == 1
    assert len(shell.processes) == 2
    assert shell.request("ping")["code"] == "new"
    until(lambda: idle(shell))
    assert events(gate) == ["db/0 config-changed"], "it ran once, and was answered to its end"
    told = shell.call("exec", model="m", target="db/0", script="relation-get -r 0 key db/0")
    assert told["stdout"] == "value\n"


def test_a_hook_that_does_not_end_runs_again(shell: Shell, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.patience = 0.5
    shell.become("other", monkeypatch)
    shell.call("models")
    behave(gate, "config-changed", f"cat {gate}; relation-set -r 0 key=value")
    shell.call("set_config", model="m", app="db", values={"port": "1"})
    until(lambda: events(gate))
    shell.become("new", monkeypatch)
    behave(gate, "config-changed", "relation-set -r 0 key=again")
    shell.call("models")
    until(lambda: idle(shell))
    assert events(gate) == ["db/0 config-changed"] * 2
    assert unit(shell)["workload-status"]["current"] != "error"
    assert shell.call("exec", model="m", target="db/0", script="relation-get -r 0 key db/0")["stdout"] == "again\n"


def test_an_action_that_runs_is_not_cut_short(shell: Shell, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(gate, "action-greet", f"action-log begun; cat {gate}; action-set ended=yes")
    shell.call("run_action", model="m", units=["db/0"], action="greet", params={"count": 1})
    until(lambda: shell.request("task", model="m", id="1")["log"])
    shell.become("new", monkeypatch)
    said: list[str] = []
    assert [model["name"] for model in shell.call("models", said.append)] == ["m"]
    assert said == ["tabletop's code has changed: its daemon is replaced once this has ended: greet on db/0"]
    assert shell.request("ping")["code"] == "old"
    gate.write_text("go\n")
    until(lambda: shell.request("task", model="m", id="1")["status"] == "completed")
    assert shell.request("task", model="m", id="1")["results"]["ended"] == "yes"
    shell.call("models")
    assert shell.request("ping")["code"] == "new"


def test_many_shells_of_new_code_replace_it_once(shell: Shell, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.become("new", monkeypatch)
    answers: list[object] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(shell.call("status", model="m"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(answers) == 20
    assert len(shell.processes) == 2


def test_commands_that_contradict_each_other_are_taken_one_after_the_other(shell: Shell, gate: Path) -> None:
    """The same application twice, units that come and go, relations: each is done or refused with a reason."""
    charm = str(gate.parent / "provider.charm")
    refused: list[RemoteError] = []
    done: list[str] = []

    def give(method: str, **params: object) -> None:
        try:
            shell.call(method, model="m", **params)
            done.append(method)
        except RemoteError as error:
            refused.append(error)

    commands: list[tuple[str, dict[str, object]]] = [("deploy", {"charm": charm, "app": "same"})] * 4
    commands += [("add_unit", {"app": "db", "num_units": 1})] * 3 + [("remove_unit", {"unit": "db/0"})] * 2
    threads = [threading.Thread(target=give, args=(method,), kwargs=params) for method, params in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert done.count("deploy") == 1
    assert [str(error) for error in refused if "same" in str(error)] == [str(refused[0])] * 3
    assert done.count("add_unit") == 3

    def settled() -> bool:
        apps = shell.request("status", model="m")["applications"]
        units = {**apps["db"]["units"], **apps["same"]["units"]}
        return sorted(units) == ["db/1", "db/2", "db/3", "same/0"] and all(
            one["juju-status"]["current"] == "idle" for one in units.values()
        )

    until(settled)
