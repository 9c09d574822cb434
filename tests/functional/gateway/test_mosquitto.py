"""The charm's configuration of mosquitto, on a real one behind a real relay: who may do what, and what passes.

The clients are paho's, in MQTT 3.1.1 and in MQTT 5.
"""

import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from daemons import Daemon, RabbitMq, SiteBroker, needed, wait_until
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from relay_rig import NODES, Rig

MODULE = Path(__file__).parents[3] / "charms/gateway/src/mosquitto.py"
VERSIONS = pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])


class CharmBroker(SiteBroker):
    """What the charm's module writes, in a directory of the test's, and a topic that all may use."""

    def __init__(self, directory: Path, module: ModuleType):
        directory.mkdir()
        module.SOCKET, module.ACL = directory / "gateway.sock", directory / "acl"
        self.socket = module.SOCKET
        path = directory / "mosquitto.conf"
        path.write_text(f"user root\npersistence true\npersistence_location {directory}/\n" + module.configuration())
        more = "pattern readwrite site/#\npattern read command/%u/#\n"
        module.ACL.write_text(module.acl("telemetry", "commands") + more)
        Daemon.__init__(self, directory, [needed("mosquitto", "mosquitto"), "-c", str(path)])


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[CharmBroker]:
    spec = importlib.util.spec_from_file_location("charm_mosquitto", MODULE)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = CharmBroker(tmp_path / "mosquitto", module)
    made.start()
    yield made
    made.stop()


class Client:
    """A client that notes what it gets and whether it is connected."""

    def __init__(
        self,
        port: int,
        user: str | None,
        password: str = "",
        *,
        protocol: int = mqtt.MQTTv311,
        client_id: str = "",
        keep: bool = False,
        will: str = "",
    ) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self.answers: list[Any] = []
        self.reasons: list[Any] = []
        self.present = False
        self.lost = threading.Event()
        kept: dict[str, Any] = {} if protocol == mqtt.MQTTv5 else {"clean_session": not keep}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id or f"client-{id(self)}",
            protocol=mqtt.MQTTProtocolVersion(protocol),
            reconnect_on_failure=False,
            **kept,
        )
        if user:
            self.client.username_pw_set(user, password)
        if will:
            self.client.will_set(will, b"gone", qos=1, retain=True)
        self.client.on_connect = self._on_connect
        self.client.on_message = lambda _client, _data, message: self.got.append(
            (message.topic, message.payload, message.retain)
        )
        self.client.on_publish = lambda _client, _data, _mid, reason, _properties: self.reasons.append(reason)
        self.client.on_disconnect = lambda *_: self.lost.set()
        properties = None
        if protocol == mqtt.MQTTv5 and keep:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
        more = {"clean_start": not keep} if protocol == mqtt.MQTTv5 else {}
        self.client.connect("127.0.0.1", port, properties=properties, **more)
        self.client.loop_start()
        wait_until(lambda: bool(self.answers), 5, "an answer")

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        self.present = flags.session_present
        self.answers.append(reason)

    @property
    def accepted(self) -> bool:
        return not self.answers[0].is_failure

    def subscribe(self, topics: str, qos: int = 1) -> None:
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(topics, qos)
        assert subscribed.wait(10), "no answer to the subscription"

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 1, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(5)

    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.got]

    def drop(self) -> None:
        """Break the connection without a goodbye."""
        self.client.loop_stop()
        self.client.socket().close()  # type: ignore[union-attr]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(rig: Rig) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(user: str | None, password: str | None = None, **options: Any) -> Client:
        made.append(Client(rig.port, user, NODES.get(user or "", "") if password is None else password, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@VERSIONS
def test_only_who_is_known_gets_in(rig: Rig, connect: Any, protocol: int):
    assert connect("node-1", protocol=protocol).accepted
    assert not connect("node-1", "password-2", protocol=protocol).accepted
    assert not connect("nobody", "password-1", protocol=protocol).accepted
    assert not connect(None, protocol=protocol).accepted
    assert not connect("iot-gateway", "", protocol=protocol).accepted
    status = rig.relay.status()["nodes"]
    assert {stranger["name"] for stranger in status["inbox"]} == {"nobody", "iot-gateway"}
    assert status["refused"] == 4


@VERSIONS
def test_a_node_writes_below_its_own_topic_and_reads_nothing(rig: Rig, connect: Any, protocol: int):
    node, spy = connect("node-1", protocol=protocol), connect("node-2", protocol=protocol)
    spy.subscribe("#")
    payload = b'[{"n":"node-1/t","v":1}]'
    for topic in ("telemetry/node-2", "telemetry/node-1/t", "other/node-1", "telemetry", "telemetry/node-1"):
        node.publish(topic, payload)
    rig.wait_for(lambda status: status["confirmed"] == 2, "the readings of its own topics")
    assert spy.got == []
    if protocol == mqtt.MQTTv5:
        assert [reason.is_failure for reason in node.reasons] == [True, False, True, True, False]


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_is_no_telemetry_goes_from_client_to_client(connect: Any, protocol: int, qos: int):
    speaker, hearer = connect("node-1", protocol=protocol), connect("node-2", protocol=protocol)
    hearer.subscribe("site/#", qos)
    for number in range(200):
        speaker.publish("site/light", b"%d" % number, qos)
    wait_until(lambda: len(hearer.got) == 200, 10, "all messages")
    assert [payload for _, payload, _ in hearer.got] == [b"%d" % number for number in range(200)]


@VERSIONS
def test_a_sleeping_node_gets_its_commands_when_it_returns(connect: Any, protocol: int):
    node = connect("node-1", protocol=protocol, client_id="sleeper", keep=True)
    assert not node.present
    node.subscribe("site/door")
    node.close()
    connect("node-2").publish("site/door", b"open")
    node = connect("node-1", protocol=protocol, client_id="sleeper", keep=True)
    assert node.present
    wait_until(lambda: node.topics() == ["site/door"], 5, "the command")


@VERSIONS
def test_a_will_is_published_when_the_link_breaks_and_not_after_a_goodbye(connect: Any, protocol: int):
    hearer = connect("node-2")
    hearer.subscribe("site/status/#")
    polite = connect("node-1", protocol=protocol, will="site/status/polite")
    gone = connect("node-1", protocol=protocol, will="site/status/gone")
    polite.close()
    gone.drop()
    wait_until(lambda: hearer.topics() == ["site/status/gone"], 5, "the will")
    time.sleep(0.3)
    assert hearer.topics() == ["site/status/gone"]
    late = connect("node-2")
    late.subscribe("site/status/#")
    wait_until(lambda: late.got == [("site/status/gone", b"gone", True)], 5, "the retained will")


def test_a_will_on_a_telemetry_topic_reaches_the_chain(rig: Rig, connect: Any):
    node = connect("node-1", will="telemetry/node-1/status")
    node.drop()
    status = rig.wait_for(lambda status: status["dead_letters_total"] == 1, "the will, which is no SenML")
    assert status["malformed"] == 1


@VERSIONS
def test_a_second_connection_takes_the_session_over(rig: Rig, connect: Any, protocol: int):
    first = connect("node-1", protocol=protocol, client_id="one")
    other = connect("node-2", protocol=protocol, client_id="one")
    second = connect("node-1", protocol=protocol, client_id="one")
    assert first.lost.wait(5), "the first connection is still there"
    assert not other.lost.is_set()
    second.publish("telemetry/node-1", b'[{"n":"node-1/t","v":1}]')
    rig.wait_for(lambda status: status["confirmed"] == 1, "the reading")
    assert rig.relay.status()["listeners"]["mqtt"]["clients"] == 2


def test_who_subscribes_late_sees_the_last_value(rig: Rig, mosquitto: CharmBroker, connect: Any):
    node = connect("node-1")
    for number in range(50):
        node.publish("telemetry/node-1/t", b'[{"n":"node-1/t","v":%d}]' % number)
    time.sleep(1.5)
    panel = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="unix")
    panel.username_pw_set("iot-gateway")
    got: list[tuple[bytes, bool]] = []
    panel.on_message = lambda _client, _data, message: got.append((message.payload, message.retain))
    panel.on_connect = lambda client, *_: client.subscribe("telemetry/#", 1)
    panel.connect(str(mosquitto.socket), 1)
    panel.loop_start()
    wait_until(lambda: got == [(b'[{"n":"node-1/t","v":49}]', True)], 5, "the last value, retained")
    panel.disconnect()
    panel.loop_stop()


def test_nodes_come_and_go_without_a_connection_being_dropped(rig: Rig, connect: Any):
    first, second = connect("node-1"), connect("node-2", protocol=mqtt.MQTTv5)
    rig.write_nodes({"node-1": NODES["node-1"], "node-3": "password-3"}, keep=True)
    rig.relay.signal(signal.SIGHUP)
    wait_until(lambda: connect("node-3", "password-3").accepted, 5, "the new node accepted")
    assert second.lost.wait(5), "the node that went is still connected"
    assert not connect("node-2").accepted
    first.publish("telemetry/node-1", b'[{"n":"node-1/t","v":1}]')
    rig.wait_for(lambda status: status["confirmed"] == 1, "the reading")
    assert not first.lost.is_set()


@VERSIONS
def test_a_packet_beyond_the_limit_ends_the_connection(connect: Any, protocol: int):
    node = connect("node-1", protocol=protocol)
    node.client.publish("telemetry/node-1", b"x" * 1_048_576, qos=1)
    assert node.lost.wait(5)


def test_a_node_that_reconnects_a_thousand_times(rig: Rig):
    from relay_rig import NODE, NODE_PASSWORD

    for _ in range(1000):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="again")
        client.username_pw_set(NODE, NODE_PASSWORD)
        client.connect("127.0.0.1", rig.port)
        while not client.is_connected():
            client.loop(0.5)
        client.disconnect()
    status = rig.relay.status()["listeners"]["mqtt"]
    assert status["connections"] == 1000
    rig.wait_for(lambda status: status["listeners"]["mqtt"]["clients"] == 0, "nobody left")


@pytest.fixture(autouse=True)
def _brokers(rabbitmq: RabbitMq) -> None:
    """RabbitMQ is there before a relay is."""
