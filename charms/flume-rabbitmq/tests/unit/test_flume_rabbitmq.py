"""What the workload module asks of the agent and of the broker."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pika.exceptions
import pytest

import flume_rabbitmq
from flume_rabbitmq import Depth, NotWorkingError, smoke_test
from iot_charm.flume.agent import Agent
from iot_charm.flume.rabbitmq import Broker, RabbitmqAgent, Target, UnusableCredentialsError
from iot_charm.testing import Authority

AGENT = Agent("flume-rabbitmq/0")
BROKER = Broker((("10.0.0.2", 5672),), "iot", "flume-rabbitmq", "s3cret", "iot.telemetry")
TARGETS = (Target("flume-hdfs/0", "10.0.0.3", 4141), Target("flume-hdfs/1", "10.0.0.4", 4141))
WANTED = RabbitmqAgent(2, 20, "flume-rabbitmq", 10000, 1000, TARGETS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What was asked of the machine, by name of the function; ``depths`` and ``connected`` are what is found there."""
    asked: dict[str, Any] = {"depths": [0], "connected": {"10.0.0.2": 2, "10.0.0.4": 1}}

    def note(name: str, answer: Any):
        def call(*arguments: Any, **named: Any) -> Any:
            asked[name] = (arguments, named)
            return answer

        return call

    for name, answer in {
        "install": None,
        "version": "1.11.0",
        "ensure_agent": True,
        "ensure_companion": True,
        "disable": None,
        "is_running": True,
    }.items():
        monkeypatch.setattr(flume_rabbitmq.service, name, note(name, answer))
    monkeypatch.setattr("iot_charm.flume.agent.ETC", tmp_path)
    (tmp_path / AGENT.name).mkdir()
    monkeypatch.setattr(flume_rabbitmq, "ensure_truststore", lambda path, ca: bool(path.write_text(ca)))
    monkeypatch.setattr(flume_rabbitmq.watchdog, "main_pid", lambda _: 7)
    monkeypatch.setattr(
        flume_rabbitmq.watchdog, "connections", lambda _, ends: sum(asked["connected"].get(host, 0) for host, _ in ends)
    )

    class Channel:
        def queue_declare(self, queue: str, *, passive: bool) -> Any:
            assert (queue, passive) == ("iot.telemetry", True)
            depths = asked["depths"]
            method = type("Method", (), {"message_count": depths.pop(0) if len(depths) > 1 else depths[0]})
            return type("Answer", (), {"method": method})

    class Connection:
        is_open = True

        def __init__(self, parameters: pika.ConnectionParameters):
            assert parameters.credentials.password == "s3cret"
            asked["parameters"] = parameters
            if asked.get("refuses"):
                raise asked["refuses"]

        def channel(self) -> Channel:
            return Channel()

        def close(self) -> None:
            pass

    monkeypatch.setattr(flume_rabbitmq.pika, "BlockingConnection", Connection)
    monkeypatch.setattr(flume_rabbitmq.time, "sleep", lambda _: None)
    monkeypatch.setattr(flume_rabbitmq, "DRAIN_S", 0.2)
    return asked


def test_configure_keeps_the_password_to_one_file_of_flumes_own(machine: dict[str, Any], tmp_path: Path):
    assert flume_rabbitmq.configure(AGENT, BROKER, WANTED, heap_mb=512, charm_dir=Path("/charm"))
    beans, properties = machine["ensure_agent"][1]["files"]
    assert (beans.path, beans.mode) == (tmp_path / "flume-rabbitmq-0/jndi.xml", 0o600)
    assert "s3cret" in beans.content
    assert machine["ensure_agent"][1]["java_options"] == []
    assert "s3cret" not in properties.content
    companion = machine["ensure_companion"][0][1]
    assert "--connections 2 --broker 10.0.0.2:5672" in " ".join(companion.command)
    assert "s3cret" not in " ".join(companion.command)


def test_unusable_credentials_change_nothing(machine: dict[str, Any]):
    broker = Broker(BROKER.addresses, "iot", "flume-rabbitmq", "a:b", "q")
    with pytest.raises(UnusableCredentialsError):
        flume_rabbitmq.configure(AGENT, broker, WANTED, heap_mb=512, charm_dir=Path("/charm"))
    assert "ensure_agent" not in machine


def test_tls_has_a_truststore_while_the_broker_offers_it(machine: dict[str, Any], tmp_path: Path):
    truststore = tmp_path / "flume-rabbitmq-0/truststore.p12"

    def configure(ca: str) -> list[str]:
        broker = replace(BROKER, addresses=(("10.0.0.2", 5671),), ca=ca)
        flume_rabbitmq.configure(AGENT, broker, WANTED, heap_mb=512, charm_dir=Path("/charm"))
        return machine["ensure_agent"][1]["java_options"]

    assert configure("PEM")[0] == f"-Djavax.net.ssl.trustStore={truststore}"
    assert truststore.read_text() == "PEM"
    assert flume_rabbitmq.uses_tls(AGENT)
    assert "--broker 10.0.0.2:5671" in " ".join(machine["ensure_companion"][0][1].command)
    assert configure("") == []
    assert not flume_rabbitmq.uses_tls(AGENT)


def test_the_queue_is_asked_over_tls_as_well(machine: dict[str, Any]):
    smoke_test(AGENT, replace(BROKER, ca=Authority().ca), 2, TARGETS)
    options = machine["parameters"].ssl_options
    assert (options.server_hostname, options.context.check_hostname) == ("10.0.0.2", True)


def test_the_rest_is_passed_on(machine: dict[str, Any]):
    assert flume_rabbitmq.install(AGENT, Path("/archive")) == "1.11.0"
    flume_rabbitmq.disable(AGENT)
    assert machine["disable"][0][1].service(AGENT) == "flume-rabbitmq-0-watchdog"


@pytest.mark.parametrize(("depths", "found"), [([0], Depth(0, 0)), ([9, 9, 4], Depth(9, 4))])
def test_a_chain_that_works(machine: dict[str, Any], depths: list[int], found: Depth):
    machine["depths"] = depths
    assert smoke_test(AGENT, BROKER, 2, TARGETS) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connected": {"10.0.0.2": 1}}, "1 of 2 sources are connected"),
        ({"connected": {"10.0.0.2": 2}}, "not connected to any of flume-hdfs/0, flume-hdfs/1"),
        ({"depths": [5]}, "5 messages in queue iot.telemetry did not become fewer"),
        (
            {"refuses": pika.exceptions.ProbableAuthenticationError("no")},
            "iot.telemetry at 10.0.0.2:5672 can't be read",
        ),
        ({"refuses": OSError()}, "can't be read: OSError"),
    ],
)
def test_a_chain_that_does_not(machine: dict[str, Any], changes: dict[str, Any], message: str):
    machine.update(changes)
    with pytest.raises(NotWorkingError, match=message):
        smoke_test(AGENT, BROKER, 2, TARGETS)


def test_no_agent(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flume_rabbitmq.service, "is_running", lambda _: False)
    with pytest.raises(NotWorkingError, match="does not run; see: journalctl -u flume-rabbitmq-0"):
        smoke_test(AGENT, BROKER, 2, TARGETS)


def test_no_process_has_no_connections(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flume_rabbitmq.watchdog, "main_pid", lambda _: 0)
    assert flume_rabbitmq.connections(AGENT, BROKER.addresses) == 0
