"""The charm's configuration of mosquitto, on a real one: who may connect, who may do what, and a change of users."""

import importlib.util
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from daemons import Daemon, answers, free_port, needed, wait_until

MODULE = Path(__file__).parents[3] / "charms/gateway/src/mosquitto.py"
USERS = {"iot-gateway": "relay-password", "node-1": "password-1", "node-2": "password-2"}


class Broker(Daemon):
    """What the charm's module writes, in a directory of the test's."""

    def __init__(self, directory: Path, module: ModuleType):
        self.module = module
        self.settings = module.Settings("127.0.0.1", free_port(), "telemetry")
        self.passwords, self.acl = directory / "passwords", directory / "acl"
        module.PASSWORDS, module.ACL = self.passwords, self.acl
        super().__init__(directory, [needed("mosquitto", "mosquitto"), "-c", str(directory / "configuration")])
        (directory / "configuration").write_text("user root\n" + module.configuration(self.settings))
        self.passwords.touch(0o600)
        self.write(USERS)

    def write(self, users: dict[str, str]) -> None:
        self.passwords.write_text(self.module.password_lines(users, self.passwords.read_text()))
        self.acl.write_text(self.module.acl(self.settings, users.keys() - self.module.RESERVED))

    def ready(self) -> bool:
        return answers(self.settings.port)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    spec = importlib.util.spec_from_file_location("charm_mosquitto", MODULE)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = Broker(tmp_path, module)
    made.start()
    yield made
    made.stop()


class Client:
    """A client that notes what it gets and whether it is connected."""

    def __init__(self, port: int, user: str | None, password: str = "") -> None:
        self.got: list[str] = []
        self.answers: list[Any] = []
        self.lost = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self.answers.append(reason)
        self.client.on_message = lambda _client, _data, message: self.got.append(message.topic)
        self.client.on_disconnect = lambda *_: self.lost.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: bool(self.answers), 5, "an answer")

    @property
    def accepted(self) -> bool:
        return not self.answers[0].is_failure

    def subscribe(self, topics: str) -> None:
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(topics, 1)
        assert subscribed.wait(10), "no answer to the subscription"

    def publish(self, topic: str) -> None:
        self.client.publish(topic, b"x", qos=1).wait_for_publish(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(broker: Broker) -> Iterator[Any]:
    made: list[Client] = []

    def make(user: str | None, password: str = "") -> Client:
        made.append(Client(broker.settings.port, user, password))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_no_password_stands_in_a_file(broker: Broker):
    text = broker.passwords.read_text()
    assert [line.split(":")[0] for line in text.splitlines()] == sorted(USERS)
    assert not any(password in text for password in USERS.values())


def test_hashes_of_mosquitto_are_recognised(broker: Broker):
    before = broker.passwords.read_text()
    broker.write(USERS)
    assert broker.passwords.read_text() == before
    broker.write({**USERS, "node-2": "another"})
    changed = set(broker.passwords.read_text().splitlines()) ^ set(before.splitlines())
    assert {line.split(":")[0] for line in changed} == {"node-2"}


def test_only_who_is_known_gets_in(broker: Broker, connect: Any):
    assert connect("node-1", "password-1").accepted
    assert not connect("node-1", "password-2").accepted
    assert not connect("nobody", "password-1").accepted
    assert not connect(None).accepted
    assert not connect("smoke-test", "").accepted


def test_a_node_writes_below_its_own_topic_and_reads_nothing(broker: Broker, connect: Any):
    relay, node, spy = (
        connect("iot-gateway", "relay-password"),
        connect("node-1", "password-1"),
        connect("node-2", "password-2"),
    )
    relay.subscribe("telemetry/#")
    spy.subscribe("#")
    for topic in ("telemetry/node-2", "telemetry/node-1/temperature", "other/node-1", "telemetry", "telemetry/node-1"):
        node.publish(topic)
    wait_until(lambda: "telemetry/node-1" in relay.got, 5, "the last message")
    assert relay.got == ["telemetry/node-1/temperature", "telemetry/node-1"]
    assert spy.got == []


def test_users_come_and_go_without_a_connection_being_dropped(broker: Broker, connect: Any):
    first, second = connect("node-1", "password-1"), connect("node-2", "password-2")
    relay = connect("iot-gateway", "relay-password")
    relay.subscribe("telemetry/#")
    broker.write({"iot-gateway": "relay-password", "node-1": "password-1", "node-3": "password-3"})
    broker.signal(signal.SIGHUP)
    wait_until(lambda: connect("node-3", "password-3").accepted, 5, "the new user accepted")
    assert second.lost.wait(5), "the user that went is still connected"
    assert not connect("node-2", "password-2").accepted
    first.publish("telemetry/node-1")
    wait_until(lambda: relay.got == ["telemetry/node-1"], 5, "the message")
    assert not first.lost.is_set()
    assert not relay.lost.is_set()


def test_a_payload_beyond_the_limit_ends_the_connection(broker: Broker, connect: Any):
    node = connect("node-1", "password-1")
    node.client.publish("telemetry/node-1", b"x" * 1_048_576, qos=1)
    assert node.lost.wait(5)
