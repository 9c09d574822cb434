"""Nodes that change while the relay runs: new credentials, disabled, added; the node agent over TLS among them."""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from daemons import Daemon, RabbitMq, SiteBroker, free_port, wait_until
from relay_rig import NODE, NODE_PASSWORD, Node, Rig

from iot_charm.testing import Authority
from iot_gateway import control
from iot_gateway.nodes import Node as KnownNode
from iot_gateway.nodes import credentials, file
from iot_gateway.nodes.provisioning import Given, provision
from iot_node.agent import Status, read_status
from iot_node.errors import ConfigError


class Agent(Daemon):
    """The node agent, as its service runs it."""

    def __init__(self, directory: Path, port: int, more: str = ""):
        (directory / "state").mkdir(parents=True)
        self._credentials = directory / "credentials.json"
        self._credentials.touch(0o600)
        self.tell(NODE_PASSWORD)
        configuration = directory / "config.toml"
        configuration.write_text(
            f"""node = "{NODE}"
interval = 0.1
state_directory = "{directory}/state"

[gateway]
host = "127.0.0.1"
port = {port}
credentials_file = "{self._credentials}"
{more}
"""
        )
        super().__init__(directory, [sys.executable, "-m", "iot_node", "run", "--config", str(configuration)])

    def tell(self, password: str) -> None:
        self._credentials.write_text(json.dumps({"username": NODE, "password": password}))

    def ready(self) -> bool:
        return self.status.sampled > 0

    @property
    def status(self) -> Status:
        try:
            return read_status(self.directory / "state")
        except ConfigError:
            return Status()


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(port: int, more: str = "") -> Agent:
        made.append(Agent(tmp_path / "agent", port, more))
        made[-1].start()
        return made[-1]

    yield make
    for agent in made:
        agent.stop()


def nodes_of(rig: Rig) -> dict[str, KnownNode]:
    return file.read(rig.directory / "nodes.json")


def change(rig: Rig, *nodes: KnownNode) -> None:
    """Replace these nodes, as the charm does, and leave the others as they are."""
    known = {**nodes_of(rig), **{node.name: node for node in nodes}}
    (rig.directory / "nodes.json").write_text(file.text(known.values()))
    rig.relay.signal(signal.SIGHUP)


def states(rig: Rig) -> dict[str, Any]:
    return control.ask(rig.relay.socket.with_name("status-control.sock"), {"do": "node-states"})


def connections(rig: Rig) -> int:
    return rig.relay.status()["listeners"]["mqtt"]["connections"]


def test_a_rotated_password_costs_no_reading_and_no_other_connection(rig: Rig, make_agent: Callable[..., Agent]):
    agent, other = make_agent(rig.port), Node(rig.port, "node-2", "password-2")
    rig.wait_for(lambda status: status["readings"] > 20, "readings")
    other.send(10)
    assert states(rig)[NODE]["connected"] == ["mqtt"]
    before = connections(rig)
    change(rig, dataclasses.replace(nodes_of(rig)[NODE], credential=credentials.make("second")))
    wait_until(lambda: "refuses" in agent.status.problem or "closed" in agent.status.problem, 20, "the refusal")
    rig.wait_for(lambda status: status["nodes"]["refused"], "a refused attempt")
    other.send(10)
    time.sleep(1)  # readings gather at the node
    assert states(rig)[NODE]["connected"] == []
    # What the charm of the node does when its secret changes.
    agent.stop()
    agent.tell("second")
    agent.start()
    wait_until(lambda: agent.status.connected and not agent.status.waiting, 20, "an agent that has sent all")
    agent.stop()
    other.close()
    rig.wait_until_empty()
    report = rig.account()
    assert report[NODE].lost == report["node-2"].lost == 0
    assert report["node-2"].distinct == 20
    assert connections(rig) == before + 1


def test_a_disabled_node_is_out_until_it_is_enabled(rig: Rig):
    node = Node(rig.port)
    node.send(1)
    known = nodes_of(rig)[NODE]
    change(rig, dataclasses.replace(known, enabled=False))
    wait_until(lambda: not states(rig)[NODE]["connected"], 10, "the end of its connection")
    change(rig, known)
    wait_until(lambda: states(rig)[NODE]["connected"] == ["mqtt"], 20, "its return")
    node.send(1)
    node.close()
    assert states(rig)[NODE]["address"] == "127.0.0.1"
    assert states(rig)["node-2"] == {"connected": [], "last_seen": 0.0, "protocol": "", "address": ""}


def publish(port: int, node: str, **how: Any) -> bool:
    """Publish a reading of a node with paho; return whether it was let in, and the reading acknowledged."""
    answers: list[bool] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    if "password" in how:
        client.username_pw_set(node, how["password"])
    if "ca" in how:
        client.tls_set(str(how["ca"]), str(how["certificate"]), str(how["key"]))
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(not reason.is_failure)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        wait_until(lambda: bool(answers), 10, "an answer")
        if answers[0]:
            payload = f'[{{"n":"{node}/t","v":1,"seq":0}}]'
            client.publish(f"telemetry/{node}", payload, qos=1).wait_for_publish(10)
        return answers[0]
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_stranger_is_seen_and_let_in(rig: Rig):
    assert not publish(rig.port, "shed", password="x")
    (seen,) = rig.relay.status()["nodes"]["inbox"]
    assert (seen["name"], seen["protocol"]) == ("shed", "mqtt")
    made = provision("shed", ["password"], Given())
    change(rig, made.node)
    wait_until(lambda: "shed" in states(rig), 10, "the node known")
    assert rig.relay.status()["nodes"]["inbox"] == []
    assert publish(rig.port, "shed", password=made.shown["password"])
    rig.wait_for(lambda status: status["confirmed"] == 1, "its reading confirmed")


# TLS


def write(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


def serve(rig: Rig, authority: Authority) -> tuple[Path, Path, Path]:
    """Write the gateway's files; return them and the authority's."""
    certificate, key = authority.issue("gateway-0", sans_ip=["127.0.0.1"])
    return (
        write(rig.directory, "cert.pem", certificate),
        write(rig.directory, "key.pem", key),
        write(rig.directory, "ca.pem", authority.ca),
    )


def secured(make_rig: Callable[..., Rig], authority: Authority, port: int, client_certificates: str = "") -> Rig:
    rig = make_rig()
    certificate, key, ca = serve(rig, authority)
    lines = ["[listeners.mqtt.tls]", f"port = {port}", f'certificate = "{certificate}"', f'key = "{key}"']
    if client_certificates:
        lines += [f'client_ca = "{ca}"', f'client_certificates = "{client_certificates}"']
    rig.settings["tls"] = "\n".join(lines)
    rig.relay.configure(rig.text())
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return rig


def test_the_agent_over_tls_stays_while_the_certificate_is_renewed(
    make_rig: Callable[..., Rig], make_agent: Callable[..., Agent]
):
    authority, port = Authority(), free_port()
    rig = secured(make_rig, authority, port)
    agent = make_agent(port, f'ca_file = "{rig.directory}/ca.pem"')
    rig.wait_for(lambda status: status["readings"] > 20, "readings")
    serve(rig, authority)
    rig.relay.signal(signal.SIGHUP)
    seen = rig.wait_for(lambda _: "configuration reloaded" in rig.relay.log.read_text(), "the reload")
    rig.wait_for(lambda status: status["readings"] > seen["readings"] + 20, "further readings")
    assert connections(rig) == 1
    assert agent.status.problem == ""
    agent.stop()
    rig.wait_until_empty()
    assert rig.account()[NODE].lost == 0


def test_the_agent_does_not_speak_to_another(make_rig: Callable[..., Rig], make_agent: Callable[..., Agent]):
    port = free_port()
    rig = secured(make_rig, Authority(), port)
    ca = write(rig.directory, "other.pem", Authority("other").ca)
    agent = make_agent(port, f'ca_file = "{ca}"')
    wait_until(lambda: "it does not prove who it is" in agent.status.problem, 20, "the refusal")
    assert not agent.status.connected
    assert connections(rig) == 0


def test_the_agent_by_its_certificate(make_rig: Callable[..., Rig], make_agent: Callable[..., Agent]):
    authority, port = Authority(), free_port()
    rig = secured(make_rig, authority, port, "required")
    certificate, key = authority.issue(NODE)
    files = {"ca": authority.ca, "certificate": certificate, "key": key}
    lines = [f'{name}_file = "{write(rig.directory, f"node-{name}.pem", text)}"' for name, text in files.items()]
    agent = make_agent(port, "\n".join(lines))
    rig.wait_for(lambda status: status["confirmed"] > 20, "readings")
    assert agent.status.problem == ""


def test_a_common_name_that_is_not_the_node_s(make_rig: Callable[..., Rig]):
    authority, port = Authority(), free_port()
    rig = secured(make_rig, authority, port, "required")
    made = provision("kitchen", ["certificate"], Given(common_name="board-4711.example"))
    change(rig, made.node)
    wait_until(lambda: "kitchen" in states(rig), 10, "the node known")
    certificate, key = authority.issue("board-4711.example")
    files = {
        "ca": rig.directory / "ca.pem",
        "certificate": write(rig.directory, "node.pem", certificate),
        "key": write(rig.directory, "node.key", key),
    }
    assert publish(port, "kitchen", **files)
    rig.wait_for(lambda status: status["confirmed"] == 1, "its reading confirmed")
    assert rig.readings()[0].node == "kitchen"


@pytest.fixture
def secured_broker(tmp_path: Path) -> Iterator[tuple[RabbitMq, int, Authority]]:
    """A RabbitMQ with a certificate, its port for TLS, and the authority."""
    authority = Authority()
    broker = RabbitMq(tmp_path / "rabbitmq")
    certificate, key = authority.issue("rabbitmq-0", sans_ip=["127.0.0.1"])
    port = broker.offer_tls(certificate, key, authority.ca)
    broker.start()
    yield broker, port, authority
    broker.close()


def test_the_uplink_over_tls_and_a_renewed_certificate(
    secured_broker: tuple[RabbitMq, int, Authority], mosquitto: SiteBroker, tmp_path: Path
):
    broker, port, authority = secured_broker
    rig = Rig(tmp_path / "relay", broker, mosquitto)
    ca = write(rig.directory, "broker-ca.pem", authority.ca)
    rig.settings.update(uplink_port=port, uplink=f'tls = {{ ca = "{ca}" }}')
    try:
        rig.relay.configure(rig.text())
        rig.relay.start()
        rig.wait_for(lambda status: status["uplink"]["connected"], "an uplink over TLS")
        with contextlib.closing(Node(rig.port)) as node:
            node.send(100)
        other = Authority("other")
        certificate, key = other.issue("rabbitmq-0", sans_ip=["127.0.0.1"])
        write(broker.directory, "cert.pem", certificate)
        write(broker.directory, "key.pem", key)
        broker.control("eval", "ssl:clear_pem_cache().")
        assert rig.relay.status()["uplink"]["connected"]
        broker.control("close_all_connections", "test")
        rig.wait_for(lambda status: "verify failed" in (status["uplink"]["error"] or ""), "the refusal of a stranger")
        write(rig.directory, "broker-ca.pem", other.ca)
        rig.wait_until_empty()
        assert rig.account()[NODE].distinct == 100
    finally:
        rig.close()
