import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iot_node import profiles
from iot_node.agent import Agent, Status, read_status, write_status
from iot_node.command_log import CommandLog
from iot_node.config import Config
from iot_node.errors import ConfigError, StoreError
from iot_node.profiles import Measurement
from iot_node.store import Store
from iot_telemetry import senml


@contextmanager
def running(config: Config) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=Agent(config).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], timeout: float = 15) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def numbers(gateway) -> list[int | None]:
    records = [record for _, payload in list(gateway.received) for record in senml.decode(payload, time.time())]
    return [record.seq for record in records if record.name == "node-1/humidity"]


def told(config: Config) -> Status:
    try:
        return read_status(config.state_directory)
    except ConfigError:
        return Status()


def test_packs_come_at_every_interval_with_all_sensors(gateway, config: Config):
    with running(config):
        wait_for(lambda: len(gateway.received) >= 5)
    topic, payload = gateway.received[0]
    records = senml.decode(payload, time.time())
    assert topic == "telemetry/node-1"
    assert len(records) == 14
    assert len({record.time for record in records}) == 1
    assert numbers(gateway) == list(range(len(gateway.received)))
    assert told(config).waiting == 0


def test_an_interval_that_was_missed_is_not_made_up_for(gateway, config: Config):
    with running(dataclasses.replace(config, interval=0.5)):
        time.sleep(1.2)
    assert len(gateway.received) == 3


def test_what_could_not_be_sent_is_sent_after_a_restart(gateway, config: Config):
    gateway.refuse_connections = True
    with running(config):
        wait_for(lambda: told(config).waiting >= 3)
        assert "refuses the connection: Not authorized" in told(config).problem
        assert not told(config).connected
    gateway.refuse_connections = False
    with running(config):
        wait_for(lambda: len(numbers(gateway)) >= 5)
    assert numbers(gateway) == list(range(len(numbers(gateway))))


def test_a_refused_pack_is_offered_again(gateway, config: Config, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_node.agent._RETRY_REFUSED_S", 0.3)
    gateway.refuse_packs = 2
    with running(config):
        wait_for(lambda: len(numbers(gateway)) >= 4)
        wait_for(lambda: {0, 1} <= set(numbers(gateway)))
    assert told(config).problem == ""


def test_a_refusal_is_told(gateway, config: Config, caplog: pytest.LogCaptureFixture):
    gateway.refuse_packs = 1000
    with running(config):
        wait_for(
            lambda: told(config).problem == "the gateway refuses packs: Not authorized" and told(config).sampled > 3
        )
        assert told(config).connected
    assert caplog.text.count("refuses packs") == 1, "said once, not at every pack"


def test_a_disk_that_is_full_costs_a_sample_and_not_the_agent(
    gateway, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    add, calls = Store.add, iter(range(1000))

    def sometimes(self: Store, *arguments: object) -> None:
        if next(calls) == 1:
            raise StoreError("can't write: database or disk is full")
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "add", sometimes)
    with running(config):
        wait_for(lambda: len(gateway.received) >= 3)
    assert "lost one sample: can't write" in caplog.text
    assert numbers(gateway) == list(range(len(gateway.received))), "the lost sample used no number"


def test_a_status_that_can_not_be_written_is_no_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_status(tmp_path / "none", Status())
    assert "can't write the status" in caplog.text


def test_no_status_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"status\.json"):
        read_status(tmp_path)


def test_profiles_with_sensors_of_the_same_name_are_refused(config: Config, monkeypatch: pytest.MonkeyPatch):
    class Same(profiles.Profile):
        @classmethod
        def create(cls, seed: int) -> "Same":
            return cls()

        def sample(self, time: float) -> list[Measurement]:
            return [Measurement("x", "m", 1.0)]

    monkeypatch.setattr(profiles, "_PROFILES", {"one": Same, "two": Same})
    with pytest.raises(ConfigError, match="one, two have sensors of the same name"):
        Agent(dataclasses.replace(config, profiles=("one", "two")))


def with_actuators(config: Config) -> Config:
    return dataclasses.replace(config, interval=3600.0, actuators=("light", "shutter"))


def readings(gateway, sensor: str) -> list[float | None]:
    packs = [payload for topic, payload in list(gateway.received) if topic == "telemetry/node-1"]
    records = [record for payload in packs for record in senml.decode(payload, time.time())]
    return [record.value for record in records if record.name == f"node-1/{sensor}"]


def reports(gateway) -> list[dict[str, str]]:
    return [json.loads(payload) for topic, payload in list(gateway.received) if topic == "commands/node-1/state"]


def command(identifier: str, target: str, value: float | str, **more: float) -> dict[str, object]:
    return {"id": identifier, "target": target, "value": value, "expires": time.time() + 60, **more}


def test_a_node_without_actuators_asks_for_no_commands(gateway, config: Config):
    with running(config):
        wait_for(lambda: len(gateway.received) >= 2)
    assert gateway.subscribed == []


def test_a_command_is_done_and_told_at_once(gateway, config: Config):
    with running(with_actuators(config)):
        wait_for(lambda: gateway.subscribed and len(gateway.received) >= 1)
        assert readings(gateway, "actuator/light") == [0.0]
        gateway.command("commands/node-1", command("one", "light", 60))
        gateway.command("commands/node-1", b"{")
        gateway.command("commands/node-1", command("two", "shutter", "half"))
        wait_for(lambda: len(reports(gateway)) == 3)
        wait_for(lambda: readings(gateway, "actuator/light")[-1] == 60.0)
        wait_for(lambda: told(config).actuators == {"light": "60 %", "shutter": "0 %"})
    assert [(found["id"], found["state"]) for found in reports(gateway)] == [
        ("one", "acknowledged"),
        ("two", "refused"),
        ("one", "applied"),
    ]
    assert gateway.subscribed == ["commands/node-1"]


def test_a_report_is_sent_again_until_it_is_taken(gateway, config: Config, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_node.agent._RETRY_REFUSED_S", 0.2)
    with running(with_actuators(config)):
        wait_for(lambda: gateway.subscribed and len(gateway.received) >= 1)
        gateway.refuse_packs = 1
        gateway.command("commands/node-1", command("one", "toaster", 1))
        wait_for(lambda: len(reports(gateway)) == 1)


def test_a_log_that_can_not_be_written_is_no_end(
    gateway, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    add, calls = CommandLog.add, iter(range(1000))

    def sometimes(self: CommandLog, *arguments: object) -> object:
        if next(calls) == 0:
            raise StoreError("disk full")
        return add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CommandLog, "add", sometimes)
    with running(with_actuators(config)):
        wait_for(lambda: gateway.subscribed and len(gateway.received) >= 1)
        gateway.command("commands/node-1", command("one", "light", 60))
        wait_for(lambda: "commands wait: disk full" in caplog.text)
        gateway.command("commands/node-1", command("one", "light", 60))
        wait_for(lambda: len(reports(gateway)) == 2)


def test_a_gateway_that_gives_no_commands_is_told_of(gateway, config: Config, caplog: pytest.LogCaptureFixture):
    gateway.refuse_subscriptions = True
    with running(with_actuators(config)):
        wait_for(lambda: "gives no commands on commands/node-1: Not authorized" in caplog.text)
