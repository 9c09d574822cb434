"""Commands from whoever gives them to the node: over mosquitto, RabbitMQ, outages and kills, none forgotten.

The nodes are paho's clients, and the node agent as its service runs it.
"""

import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pika
import pytest
from daemons import Daemon, RabbitMq, SiteBroker, wait_until
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from relay_rig import NODES, Rig

from iot_gateway import control
from iot_gateway.errors import NotRunningError, RequestRefusedError
from iot_node.agent import read_status
from iot_node.errors import ConfigError
from iot_telemetry import batch

VERSIONS = pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
NODE = "node-1"


def ask(rig: Rig, what: str, **fields: Any) -> Any:
    return control.ask(rig.directory / "status-control.sock", {"do": what, **fields})


def send(rig: Rig, identifier: str, target: str = "light", value: Any = 60, **more: Any) -> None:
    ask(rig, "send-command", id=identifier, node=NODE, target=target, value=value, **more)


def command(rig: Rig, identifier: str) -> dict[str, Any]:
    (found,) = [each for each in ask(rig, "list-commands", limit=10000) if each["id"] == identifier]
    return found


def states(rig: Rig, identifier: str) -> list[str]:
    return [step["state"] for step in command(rig, identifier)["steps"]]


def wait_for_state(rig: Rig, identifier: str, state: str, timeout: float = 20) -> dict[str, Any]:
    def reached() -> bool:
        # One that comes by message may not be there yet.
        return any(each["id"] == identifier for each in ask(rig, "list-commands", state=state, limit=10000))

    try:
        wait_until(reached, timeout, f"{identifier} {state}")
    except TimeoutError as error:
        raise AssertionError(f"{error}: {ask(rig, 'list-commands')}") from error
    return command(rig, identifier)


class PahoNode:
    """A node of another maker: it subscribes to its commands and notes them."""

    def __init__(
        self,
        rig: Rig,
        protocol: int = mqtt.MQTTv5,
        *,
        user: str = NODE,
        keep: bool = False,
        topics: tuple[str, ...] = (),
    ):
        self.got: list[dict[str, Any]] = []
        self.topics: list[str] = []
        self.answers = True
        self._user = user
        self._acknowledged = threading.Semaphore(0)
        ready = threading.Event()
        v5 = protocol == mqtt.MQTTv5
        kept: dict[str, Any] = {} if v5 else {"clean_session": not keep}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"paho-{user}",
            protocol=mqtt.MQTTProtocolVersion(protocol),
            reconnect_on_failure=False,
            **kept,
        )
        self.client.username_pw_set(user, NODES[user])
        self.client.on_connect = lambda *_: ready.set()
        self.client.on_message = self._take
        self.client.on_publish = lambda *_: self._acknowledged.release()
        properties = None
        if v5 and keep:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", rig.port, properties=properties, **({"clean_start": not keep} if v5 else {}))
        self.client.loop_start()
        assert ready.wait(10)
        for topic in topics or (f"commands/{user}",):
            if topic != "-":
                self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.subscribe(topic, qos=1)
        assert subscribed.wait(10)

    def _take(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.got.append(json.loads(message.payload))
        self.topics.append(message.topic)
        if self.answers:
            for state in ("acknowledged", "applied"):
                self.say(self.got[-1]["id"], state)

    def say(self, identifier: str, state: str, reason: str = "", *, node: str = "") -> None:
        content = json.dumps({"id": identifier, "state": state, "reason": reason})
        self.client.publish(f"commands/{node or self._user}/state", content, qos=1)

    def wait_for_acknowledgements(self, count: int) -> None:
        for _ in range(count):
            assert self._acknowledged.acquire(timeout=10)

    def ids(self) -> list[str]:
        return [found["id"] for found in self.got]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class NodeProcess(Daemon):
    """The node agent."""

    def __init__(self, directory: Path, port: int, actuators: str = '["light", "shutter", "socket"]'):
        (directory / "state").mkdir(parents=True)
        credentials = directory / "credentials.json"
        credentials.touch(0o600)
        credentials.write_text(json.dumps({"username": NODE, "password": NODES[NODE]}))
        configuration = directory / "config.toml"
        configuration.write_text(
            f"""node = "{NODE}"
interval = 0.5
actuators = {actuators}
state_directory = "{directory}/state"

[gateway]
host = "127.0.0.1"
port = {port}
credentials_file = "{credentials}"
"""
        )
        super().__init__(directory, [sys.executable, "-m", "iot_node", "run", "--config", str(configuration)])

    def ready(self) -> bool:
        with contextlib.suppress(ConfigError):
            return read_status(self.directory / "state").sampled > 0
        return False

    def actuators(self) -> dict[str, str]:
        return read_status(self.directory / "state").actuators

    def begun(self) -> Counter[str]:
        """Count how often each command was begun, over all starts of the agent."""
        lines = [
            line.split("iot_node.actuation: command ")[1]
            for line in self.log.read_text().splitlines()
            if " to " in line and "actuation: command" in line
        ]
        return Counter(line.split(":")[0] for line in lines)


@pytest.fixture
def agent(rig: Rig, tmp_path: Path) -> Iterator[NodeProcess]:
    made = NodeProcess(tmp_path / "node", rig.port)
    yield made
    made.stop()


@pytest.fixture
def commanded(make_rig: Callable[..., Rig]) -> Iterator[Rig]:
    """A rig whose relay takes commands from a queue of its own."""
    made = make_rig()
    name = f"{made.directory.name}.commands"
    with made.channel() as channel:
        channel.exchange_declare(name, "topic", durable=True)
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(name, name, "site-1.gateway-0")
    made.names["commands"] = name
    made.relay.configure(made.text(uplink=f'commands_queue = "{name}"'))
    made.relay.start()
    made.wait_for(lambda s: (s["uplink"]["commands"] or {}).get("consuming"), "a consumer of commands")
    yield made
    with made.channel() as channel:
        channel.exchange_delete(name)
        channel.queue_delete(name)
    del made.names["commands"]


def publish(rig: Rig, body: bytes, message_id: str | None = None, timestamp: int | None = None) -> None:
    with rig.channel() as channel:
        channel.confirm_delivery()
        properties = pika.BasicProperties(message_id=message_id, delivery_mode=2, timestamp=timestamp)
        channel.basic_publish(rig.names["commands"], "site-1.gateway-0", body, properties, mandatory=True)


def lines(rig: Rig) -> list[dict[str, Any]]:
    """Take what the chain was told."""
    rig.wait_until_empty()
    return [
        json.loads(line)
        for properties, body in rig.messages("telemetry")
        for line in batch.decode(body, properties.content_encoding or "identity")
    ]


# To a node


@VERSIONS
@pytest.mark.parametrize("keep", [False, True])
def test_a_command_waits_for_its_node_and_reaches_it_when_it_returns(rig: Rig, protocol: int, keep: bool):
    if keep:
        PahoNode(rig, protocol, keep=True).close()
        rig.wait_for(lambda s: s["listeners"]["mqtt"]["clients"] == 0, "the node gone")
    send(rig, "one")
    send(rig, "two", "shutter", "up")
    time.sleep(0.5)
    assert states(rig, "one") == ["queued"]
    # With a session it need not subscribe again.
    node = PahoNode(rig, protocol, keep=keep, topics=("-",) if keep else ())
    for identifier in ("one", "two"):
        wait_for_state(rig, identifier, "applied")
        assert states(rig, identifier)[:2] == ["queued", "sent"]
        assert states(rig, identifier)[-2:] == ["acknowledged", "applied"]
    assert {(found["id"], found["target"], found["value"]) for found in node.got} == {
        ("one", "light", 60.0),
        ("two", "shutter", "up"),
    }
    assert set(node.topics) == {f"commands/{NODE}"}
    node.close()
    told = [line for line in lines(rig) if "command" in line]
    assert [line["text"] for line in told if line["command"] == "one"] == states(rig, "one")
    assert {(line["node"], line["sensor"], line["wanted"]) for line in told} == {
        (NODE, "command/light", "60.0"),
        (NODE, "command/shutter", '"up"'),
    }


@VERSIONS
def test_a_node_sees_its_own_commands_and_speaks_for_itself_alone(rig: Rig, protocol: int):
    node = PahoNode(rig, protocol)
    node.answers = False
    other = PahoNode(rig, protocol, user="node-2", topics=("#", f"commands/{NODE}", "commands/+"))
    other.answers = False
    send(rig, "one")
    wait_for_state(rig, "one", "sent")
    ask(rig, "send-command", id="others", node="node-2", target="light", value=1)
    wait_until(lambda: "others" in other.ids(), 10, "its own command")
    other.say("one", "applied", node=NODE)
    other.say("one", "applied")
    other.wait_for_acknowledgements(2)
    assert command(rig, "one")["state"] == "sent"
    assert node.ids() == ["one"]
    assert set(other.ids()) == {"others"}
    # Nor can a node give a command.
    before = len(node.got)
    other.client.publish(f"commands/{NODE}", b'{"id": "forged"}', qos=1).wait_for_publish(5)
    node.say("one", "failed", "the lamp is broken")
    found = wait_for_state(rig, "one", "failed")
    assert found["reason"] == "the lamp is broken"
    assert len(node.got) == before
    assert rig.relay.status()["listeners"]["mqtt"]["forbidden"] == 2
    for each in (node, other):
        each.close()


@VERSIONS
def test_what_a_node_says_and_nobody_understands_is_a_dead_letter(rig: Rig, protocol: int):
    node = PahoNode(rig, protocol)
    node.client.publish(f"commands/{NODE}/state", b"done!", qos=1).wait_for_publish(5)
    node.close()
    rig.wait_until_empty()
    ((properties, body),) = rig.messages("dead-letters")
    assert body == b"done!"
    assert properties.headers["topic"] == f"commands/{NODE}/state"


def test_time_is_up_and_taken_back(rig: Rig):
    send(rig, "late", ttl=0.5)
    send(rig, "cancelled", "shutter", "up")
    assert ask(rig, "cancel-command", id="cancelled", reason="it rains")["state"] == "cancelled"
    found = wait_for_state(rig, "late", "expired", timeout=5)
    assert found["reason"] == "the node could not be reached in time"
    with pytest.raises(RequestRefusedError, match="is expired and can't be cancelled"):
        ask(rig, "cancel-command", id="late")
    send(rig, "good")
    node = PahoNode(rig)
    wait_for_state(rig, "good", "applied")
    assert node.ids() == ["good"]
    node.close()
    told = {(line["command"], line["text"], line["reason"]) for line in lines(rig) if "command" in line}
    assert ("cancelled", "cancelled", "it rains") in told
    assert ("late", "expired", "the node could not be reached in time") in told


def test_the_site_s_broker_dies_with_a_command_on_its_way(rig: Rig, mosquitto: SiteBroker):
    node = PahoNode(rig, keep=True)
    node.answers = False
    send(rig, "one")
    wait_for_state(rig, "one", "sent")
    mosquitto.kill()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["clients"] == 0, "the node let go")
    send(rig, "two", "shutter", 10)
    mosquitto.start()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"], "mosquitto back")
    node.close()
    again = PahoNode(rig, keep=True)
    for identifier in ("one", "two"):
        wait_for_state(rig, identifier, "applied")
    again.close()


# The node agent


def test_the_agent_does_what_waited_for_it(rig: Rig, agent: NodeProcess):
    send(rig, "one", "shutter", 15)
    send(rig, "two", "socket", True)
    send(rig, "three", "toaster", 1)
    send(rig, "four", "light", 101)
    agent.start()
    assert wait_for_state(rig, "one", "applied")["reason"] == "15 %"
    assert states(rig, "one") == ["queued", "sent", "acknowledged", "applied"]
    times = {step["state"]: step["time"] for step in command(rig, "one")["steps"]}
    assert times["applied"] - times["acknowledged"] > 1, "a shutter takes its time"
    assert wait_for_state(rig, "two", "applied")["reason"] == "on"
    assert "there are light, shutter, socket" in wait_for_state(rig, "three", "refused")["reason"]
    assert "value=101" in wait_for_state(rig, "four", "refused")["reason"]
    wait_until(lambda: agent.actuators() == {"light": "0 %", "shutter": "15 %", "socket": "on"}, 5, "its status")
    agent.stop()
    found = [line for line in lines(rig) if line["sensor"].startswith("actuator/")]
    shutter = [line["value"] for line in found if line["sensor"] == "actuator/shutter"]
    assert shutter == sorted(shutter)
    assert shutter[-1] == 15.0
    assert [line["flag"] for line in found if line["sensor"] == "actuator/socket"][-1] is True
    assert {line.get("unit") for line in found} == {"/100", None}


def test_nothing_is_forgotten_or_done_twice_whatever_is_killed(rig: Rig, agent: NodeProcess):
    rounds, seed = 12, random.randrange(1000)
    chance = random.Random(seed)
    print(f"seed {seed}")
    agent.start()
    given: list[str] = []
    for number in range(rounds):
        for target, value in (("light", number), ("socket", number % 2 == 0), ("shutter", number % 5)):
            given.append(f"{number}-{target}")
            send(rig, given[-1], target, value)
        time.sleep(chance.uniform(0.0, 0.6))
        for daemon in [rig.relay, agent] if number % 3 == 2 else [rig.relay]:
            daemon.kill()
            daemon.start()

    def open_commands() -> int:
        try:
            return rig.relay.status()["commands"]["open"]
        except NotRunningError:
            return -1

    wait_until(lambda: open_commands() == 0, 60, "all commands at their end")
    ended = {found["id"]: found for found in ask(rig, "list-commands", limit=1000)}
    assert set(ended) == set(given), "none forgotten"
    # A later one may take the place of an earlier one that is still under way.
    outcomes = Counter(found["state"] for found in ended.values())
    print(f"{len(given)} commands over {rounds} kills: {dict(outcomes)}; begun {sum(agent.begun().values())} times")
    for found in ended.values():
        assert found["state"] == "applied" or "took its place" in found["reason"], found
    assert max(agent.begun().values()) == 1, "none done twice"
    assert set(agent.begun()) == set(given)
    last = rounds - 1
    assert agent.actuators() == {
        "light": f"{last} %",
        "shutter": f"{last % 5} %",
        "socket": "off" if last % 2 else "on",
    }
    agent.stop()
    told: dict[str, list[str]] = {}
    for line in lines(rig):
        if "command" in line:
            told.setdefault(line["command"], []).append(line["text"])
    for identifier, found in ended.items():
        steps = [step["state"] for step in found["steps"]]
        # A kill may have the chain told again, never less.
        assert set(told[identifier]) == set(steps), identifier


# From the chain


def test_commands_come_by_message_over_restarts_of_the_broker_and_kills(commanded: Rig, rabbitmq: RabbitMq):
    rig = commanded
    node = PahoNode(rig)
    publish(rig, json.dumps({"id": "one", "node": NODE, "target": "light", "value": 60}).encode())
    assert wait_for_state(rig, "one", "applied")["origin"] == f"amqp:{rig.names['commands']}"
    rabbitmq.stop()
    rabbitmq.start()
    publish(rig, json.dumps({"node": NODE, "target": "light", "value": 61}).encode(), message_id="two")
    rig.wait_for(lambda s: s["commands"]["taken"] == 2, "the second command", timeout=60)
    wait_for_state(rig, "two", "applied")
    rig.relay.kill()
    for number in range(50):
        content = {"id": f"c{number}", "node": NODE, "target": f"t{number}", "value": number}
        publish(rig, json.dumps(content).encode())
    for _ in range(4):
        rig.relay.start()
        time.sleep(0.15)
        rig.relay.kill()
    rig.relay.start()
    node.close()
    node = PahoNode(rig)
    for number in range(50):
        wait_for_state(rig, f"c{number}", "applied", timeout=40)
    assert len(ask(rig, "list-commands", limit=1000)) == 52, "redelivered, and known by their identifiers"
    node.close()
    assert rig.count("commands") == 0


def test_what_can_not_be_done_is_a_dead_letter_with_the_reason_and_blocks_nothing(commanded: Rig):
    rig = commanded
    bad = {
        b"{": "not JSON",
        b'{"node": "node-1"}': "target",
        b'{"node": "attic", "target": "light"}': "node='attic': no node is called so",
        b'{"node": "node-1", "target": "light", "ttl": 0}': "ttl=0",
    }
    for body in bad:
        publish(rig, body)
    publish(rig, b'{"node": "node-1", "target": "light", "value": 5, "ttl": 60}', "old", timestamp=1_000_000)
    publish(rig, b'{"node": "node-1", "target": "light", "value": 5}', "good")
    assert wait_for_state(rig, "old", "expired")["steps"][0]["state"] == "queued"
    wait_for_state(rig, "good", "queued")
    found = rig.wait_for(lambda s: s["commands"]["rejected"] == 4, "four refused")
    assert found["commands"]["taken"] == 2
    rig.wait_until_empty()
    letters = {body: properties.headers["reason"] for properties, body in rig.messages("dead-letters")}
    assert letters.keys() == bad.keys()
    for body, reason in bad.items():
        assert reason in letters[body]
    assert rig.count("commands") == 0


def test_a_queue_that_is_not_there_yet_is_waited_for_and_holds_nothing_up(make_rig: Callable[..., Rig]):
    rig = make_rig()
    name = f"{rig.directory.name}.later"
    rig.relay.configure(rig.text(uplink=f'commands_queue = "{name}"'))
    rig.relay.start()
    seen = rig.wait_for(lambda s: (s["uplink"]["commands"] or {}).get("error"), "the fault shown")
    assert "NOT_FOUND" in seen["uplink"]["commands"]["error"]
    assert seen["uplink"]["connected"]
    assert seen["uplink"]["error"] is None
    node = PahoNode(rig)
    node.client.publish(f"telemetry/{NODE}", b'[{"n":"node-1/t","v":1}]', qos=1).wait_for_publish(5)
    node.close()
    rig.wait_until_empty()
    with rig.channel() as channel:
        channel.queue_declare(name, durable=True)
        rig.wait_for(lambda s: s["uplink"]["commands"]["consuming"], "a consumer")
        channel.queue_delete(name)
        rig.wait_for(lambda s: not s["uplink"]["commands"]["consuming"], "the loss shown")
        channel.queue_declare(name, durable=True)
        rig.wait_for(lambda s: s["uplink"]["commands"]["consuming"], "a consumer again")
        channel.queue_delete(name)
