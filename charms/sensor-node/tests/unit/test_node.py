"""What the workload module makes without a machine: the agent must be able to read it."""

from pathlib import Path

import pytest

import node
from iot_node.agent import Status, write_status
from iot_node.config import Config

SETTINGS = node.Settings(
    instance="sensor-node-0",
    node="attic",
    profiles=("sensortag", "host"),
    actuators=("light", "window:shutter"),
    interval=0.5,
    log_level="debug",
    host="10.1.2.3",
    port=1883,
    topic_prefix="telemetry",
    commands_prefix="orders",
    username="attic",
    password="hunter2",
)


def test_the_agent_reads_what_the_charm_writes(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(SETTINGS.render())
    config = Config.read(path)
    assert (config.node, config.profiles, config.interval) == ("attic", ("sensortag", "host"), 0.5)
    assert config.topic == "telemetry/attic"
    assert config.actuators == ("light", "window:shutter")
    assert config.commands_topic == "orders/attic"
    assert config.state_directory == Path("/var/lib/iot-node/attic")
    assert config.gateway.credentials_file == Path("/etc/iot-node/sensor-node-0/credentials.json")
    assert SETTINGS.password not in path.read_text()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(node, "_STATE", tmp_path)
    (tmp_path / "attic").mkdir()
    return tmp_path / "attic"


def test_an_acknowledgement_in_time(state: Path):
    write_status(state, Status(connected=True, acknowledged=4, last_acknowledged=100.0))
    assert node.wait_for_acknowledgement("attic", 99.0, 0).acknowledged == 4


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Status(connected=True, last_acknowledged=98.0), "the gateway acknowledged nothing"),
        (Status(connected=False, problem="10.1.2.3:1883 can't be reached"), "can't be reached"),
    ],
)
def test_no_acknowledgement_in_time(state: Path, told: Status, words: str):
    write_status(state, told)
    with pytest.raises(node.NodeError, match=words):
        node.wait_for_acknowledgement("attic", 99.0, 0)


def test_no_status_yet(state: Path):
    with pytest.raises(node.NodeError, match="has not told its status"):
        node.wait_for_acknowledgement("attic", 99.0, 0)
