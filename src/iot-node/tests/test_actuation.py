import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iot_node import actuators
from iot_node.actuation import Actuation, opened
from iot_node.command_log import CommandLog
from iot_node.errors import StoreError

WORDS = ["light", "shutter", "socket"]


class Node:
    """An actuation whose clocks a test sets."""

    def __init__(self, directory: Path, words: list[str] = WORDS, **options: Any):
        self.now = 1000.0
        self.log = CommandLog(directory / "commands.db", **options)
        self.actuation = Actuation(
            actuators.create(words), self.log, clock=lambda: self.now, monotonic=lambda: self.now
        )

    def take(self, identifier: str, target: str, value: Any, expires: float = 2000.0) -> None:
        command = {"id": identifier, "target": target, "value": value, "expires": expires}
        self.actuation.take(json.dumps(command).encode())

    def told(self) -> list[tuple[str, str]]:
        """Take what is to be told, as the gateway does."""
        found = self.actuation.reports(100)
        for report in found:
            self.actuation.told(report.number, report.state)
        return [(content["id"], content["state"]) for content in (json.loads(report.payload) for report in found)]

    def pass_time(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.actuation.step()

    def close(self) -> None:
        self.log.__exit__(None, None, None)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Node]:
    made: list[Node] = []

    def begin(*arguments: Any, **options: Any) -> Node:
        for node in made:
            node.close()
        made.append(Node(tmp_path, *arguments, **options))
        return made[-1]

    yield begin
    for node in made:
        node.close()


def test_a_command_is_acknowledged_and_then_applied(start: Callable[..., Node]):
    node = start()
    node.take("one", "shutter", 30)
    assert node.told() == [("one", "acknowledged")]
    assert node.actuation.moving
    assert [found.value for found in node.pass_time(0.5)] == [5.0]
    assert node.pass_time(0.4) == [], "a reading a second is enough"
    assert [found.value for found in node.pass_time(0.6)] == [15.0]
    assert node.told() == []
    assert [found.value for found in node.pass_time(1.5)] == [30.0], "at rest it is told at once"
    (report,) = node.actuation.reports(10)
    assert json.loads(report.payload) == {"id": "one", "state": "applied", "reason": "30 %"}
    assert not node.actuation.moving
    assert node.actuation.describe() == {"light": "0 %", "shutter": "30 %", "socket": "off"}
    assert [found.sensor for found in node.actuation.measurements()] == [f"actuator/{name}" for name in WORDS]


def test_what_takes_no_time_is_acknowledged_all_the_same(start: Callable[..., Node]):
    node = start()
    node.take("one", "socket", "on")
    assert node.told() == [("one", "acknowledged")]
    assert [found.value for found in node.pass_time(0.0)] == [True]
    assert node.told() == [("one", "applied")]


def test_a_command_that_comes_again_is_told_again_and_not_done_again(start: Callable[..., Node]):
    node = start()
    node.take("one", "light", 60)
    node.pass_time(5.0)
    assert node.told() == [("one", "applied")]
    node.take("two", "light", 10)
    node.pass_time(5.0)
    assert node.told() == [("two", "applied")]
    node.take("one", "light", 60)
    node.pass_time(5.0)
    assert node.told() == [("one", "applied")]
    assert node.actuation.describe()["light"] == "10 %"
    again = start()
    again.take("one", "light", 60)
    again.pass_time(5.0)
    assert again.told() == [("one", "applied")]
    assert again.actuation.describe()["light"] == "10 %", "nor after a restart"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("one", "toaster", 1), "target='toaster': there is no such actuator; there are light, shutter, socket"),
        (("one", "light", 101), "value=101: light takes a percentage"),
        (("one", "light", 50, 999.0), "it expired before it came"),
    ],
)
def test_what_is_refused(start: Callable[..., Node], command: tuple[Any, ...], reason: str):
    node = start()
    node.take(*command)
    (report,) = node.actuation.reports(10)
    content = json.loads(report.payload)
    assert (content["id"], content["state"]) == ("one", "refused")
    assert reason in content["reason"]
    assert not node.actuation.moving
    node.actuation.told(report.number, report.state)
    node.take("one", "light", 50)
    assert node.told() == [("one", "refused")], "the identifier is used up"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"id": 1, "target": "light", "expires": 1}',
        b'{"id": "", "target": "light", "expires": 1}',
        b'{"id": "a", "target": 1, "expires": 1}',
        b'{"id": "a", "target": "light", "value": [1], "expires": 1}',
        b'{"id": "a", "target": "light", "value": "%s", "expires": 1e12}' % (b"x" * 4097),
        b'{"id": "a", "target": "light", "value": 1, "expires": null}',
        b'{"id": "a", "target": "light", "value": 1, "expires": 1%s}' % (b"0" * 400),
        b"[" * 100_000,
    ],
)
def test_what_makes_no_sense_is_no_end(start: Callable[..., Node], payload: bytes, caplog: pytest.LogCaptureFixture):
    node = start()
    node.actuation.take(payload)
    assert "makes no sense" in caplog.text
    assert node.told() == []


def test_a_later_command_takes_the_place_of_an_earlier_one(start: Callable[..., Node]):
    node = start()
    node.take("down", "shutter", "down")
    node.pass_time(2.0)
    node.take("stop", "shutter", "stop")
    found = {json.loads(report.payload)["id"]: json.loads(report.payload) for report in node.actuation.reports(10)}
    assert (found["down"]["state"], found["down"]["reason"]) == ("failed", "command stop took its place")
    node.pass_time(0.0)
    assert node.told() == [("stop", "applied")]
    assert node.actuation.describe()["shutter"] == "20 %"


def test_a_restart_goes_on_where_it_was(start: Callable[..., Node]):
    node = start()
    node.take("one", "shutter", 50)
    node.pass_time(2.0)
    node.take("other", "light", 50)
    again = start()
    assert again.actuation.describe()["shutter"] == "20 %, going to 50 %"
    assert sorted(again.told()) == [("one", "acknowledged"), ("other", "acknowledged")]
    again.pass_time(10.0)
    assert sorted(again.told()) == [("one", "applied"), ("other", "applied")]
    assert start().told() == []


def test_an_actuator_that_is_gone_fails_its_commands(start: Callable[..., Node]):
    start().take("one", "shutter", 50)
    again = start(["light"])
    (report,) = again.actuation.reports(10)
    assert json.loads(report.payload)["state"] == "failed"
    assert "no such actuator" in json.loads(report.payload)["reason"]


def test_what_the_gateway_does_not_take_is_told_again(start: Callable[..., Node]):
    node = start()
    node.take("one", "socket", True)
    (report,) = node.actuation.reports(10)
    assert node.actuation.reports(10) == []
    node.actuation.untold(report.number, report.state)
    assert node.actuation.reports(10) == [report]
    node.pass_time(0.0)
    node.actuation.told(report.number, report.state)
    assert node.told() == [("one", "applied")], "the word on an earlier state is none on the later"


def test_no_more_is_told_than_there_is_room_for(start: Callable[..., Node]):
    node = start()
    for number in range(5):
        node.take(f"c{number}", "toaster", 1)
    assert [len(node.actuation.reports(2)) for _ in range(4)] == [2, 2, 1, 0]


def test_the_log_is_bounded_and_forgets_nothing_that_is_under_way(start: Callable[..., Node]):
    node = start(kept=3)
    node.take("moving", "shutter", 100)
    node.take("untold", "toaster", 1)
    node.actuation.reports(10)
    for number in range(10):
        node.take(f"c{number}", "toaster", 1)
        for report in node.actuation.reports(10):
            node.actuation.told(report.number, report.state)
    ids = [row[0] for row in node.log._do("SELECT id FROM command ORDER BY number")]
    assert ids == ["moving", "untold", "c7", "c8", "c9"]


def test_the_log_is_bounded_too_while_the_gateway_is_told_nothing(start: Callable[..., Node]):
    node = start(kept=3, untold_kept=5)
    node.take("moving", "shutter", 100)
    for number in range(20):
        node.take(f"c{number}", "toaster", 1)
    ids = [row[0] for row in node.log._do("SELECT id FROM command ORDER BY number")]
    assert ids == ["moving", *(f"c{number}" for number in range(15, 20))]
    assert node.told() == [(each, "acknowledged" if each == "moving" else "refused") for each in ids]


def test_a_disk_that_refuses_costs_no_command(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch):
    node = start()
    node.take("one", "shutter", 10)
    real, broken = node.log._do, [True]

    def failing(*arguments: Any) -> Any:
        if broken:
            raise StoreError("disk full")
        return real(*arguments)

    monkeypatch.setattr(node.log, "_do", failing)
    with pytest.raises(StoreError):
        node.take("two", "socket", True)
    with pytest.raises(StoreError):
        node.pass_time(5.0)
    assert node.actuation.describe()["socket"] == "off"
    broken.clear()
    node.pass_time(0.1)
    assert node.told() == [("one", "applied")]


def test_a_node_without_actuators_has_no_log(tmp_path: Path):
    with opened(tmp_path, [], lambda: 0.0) as found:
        assert found is None
    assert not list(tmp_path.iterdir())
    with opened(tmp_path, actuators.create(["light"]), lambda: 0.0) as found:
        assert found is not None
    assert (tmp_path / "commands.db").exists()


def test_a_log_that_can_not_be_used_is_named(tmp_path: Path):
    (tmp_path / "commands.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match=r"commands\.db can't be used"):
        CommandLog(tmp_path / "commands.db")
    log = CommandLog(tmp_path / "other.db")
    log.__exit__(None, None, None)
    with pytest.raises(StoreError, match="can't use"):
        log.positions()
    assert issubclass(sqlite3.ProgrammingError, sqlite3.Error)
