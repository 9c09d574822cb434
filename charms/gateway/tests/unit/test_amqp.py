"""Nodes that speak AMQP: what RabbitMQ is asked for, where nodes are led, what they and the operator are told."""

import base64
import dataclasses
import hashlib
from typing import Any

import ops
import pytest
from fakes import BROKER_SECRET, Machine, amqp, mqtt, relay_status
from ops.testing import (
    ActionFailed,
    ActiveStatus,
    BlockedStatus,
    Context,
    PeerRelation,
    Relation,
    Secret,
    State,
    TCPPort,
)

import amqp_nodes
import relay_settings
from amqp_route import PLAIN, TLS, Route
from charm import GatewayCharm
from iot_charm.interfaces.rabbitmq import NODES, RabbitmqAnswer, decode_nodes, nodes_digest

Gateway = Context[GatewayCharm]

OFFER = {
    "nodes-exchange": "iot.nodes",
    "nodes-queues": "iot.nodes.other.gateway-9,iot.nodes.site-1.gateway-0",
    "node-commands-exchange": "iot.node-commands",
    "nodes-served": f"gateway/0:{nodes_digest('{}')}",
}
WITH_TLS = {"ssl_port": "5671", "ssl_ca": RabbitmqAnswer.encoded("-----PEM-----")}
ADDRESSES = ("127.0.0.1", "192.0.2.0")


def start(context: Gateway, answer: dict[str, str] | None = None, *relations: Relation, **options: Any) -> State:
    """Run a gateway for which RabbitMQ has done what it is asked for."""
    broker = amqp(**(OFFER if answer is None else answer))
    state = State(
        relations={broker, PeerRelation("peers", peers_data={1: {}}), *relations},
        secrets={BROKER_SECRET},
        leader=True,
        config={"amqp": True, **options},
    )
    return context.run(context.on.relation_changed(broker), state)


def asked(state: State) -> dict[str, str]:
    (relation,) = state.get_relations("amqp")
    return dict(relation.local_unit_data)


def told(state: State) -> Secret:
    (secret,) = [each for each in state.secrets if each.label == amqp_nodes.SECRET]
    return secret


def act(context: Gateway, before: State, action: str, **params: Any) -> tuple[State, dict[str, Any]]:
    out = context.run(context.on.action(action, params=params), before)
    assert context.action_results is not None
    return out, dict(context.action_results)


def served(before: State) -> State:
    """Let RabbitMQ know the nodes that it is told of."""
    (relation,) = before.get_relations("amqp")
    assert isinstance(relation, Relation)
    content = told(before).latest_content or {}
    answer = {**relation.remote_units_data[0], "nodes-served": f"gateway/0:{nodes_digest(content[NODES])}"}
    answered = dataclasses.replace(relation, remote_units_data={0: answer})
    return dataclasses.replace(before, relations={*(before.relations - {relation}), answered})


def test_there_is_none_unless_it_is_wanted(context: Gateway, machine: Machine):
    out = start(context, amqp=False)
    assert not {"nodes-secret", "reached-at"} & asked(out).keys()
    assert machine.routes == {}
    assert machine.relay_settings is not None
    assert machine.relay_settings.amqp is None
    assert isinstance(out.unit_status, ActiveStatus)


def test_what_rabbitmq_is_asked_for_and_what_comes_of_its_answer(context: Gateway, machine: Machine):
    out = start(context, None, mqtt(u0="n"), certificate_names="gateway.example")
    assert asked(out)["commands"] == "site-1.gateway-0"
    assert {"192.0.2.0", "gateway.example"} <= set(asked(out)["reached-at"].split(","))
    secret, (relation,) = told(out), out.get_relations("amqp")
    assert asked(out)["nodes-secret"].rpartition(":")[2].rpartition("/")[2] in secret.id
    assert secret.owner == "unit"
    assert secret.remote_grants == {relation.id: {"rabbitmq"}}
    assert secret.latest_content == {NODES: "{}"}
    assert machine.relay_settings is not None
    assert machine.relay_settings.amqp == relay_settings.Amqp("iot.nodes.site-1.gateway-0", "iot.node-commands")
    assert list(machine.routes.values()) == [Route(PLAIN, ADDRESSES, 5672, "10.0.0.2", 5672)]
    assert TCPPort(5672) in out.opened_ports
    assert isinstance(out.unit_status, ActiveStatus)


def test_a_node_is_a_user_of_rabbitmq(context: Gateway, machine: Machine):
    out, shown = act(context, start(context), "add-node", name="kitchen", credentials="amqp")
    assert {key: text for key, text in shown.items() if key.startswith("amqp-") and key != "amqp-password"} == {
        "amqp-username": "gateway.kitchen",
        "amqp-vhost": "iot",
        "amqp-exchange": "iot.nodes",
        "amqp-routing-key": "site-1.gateway-0.kitchen",
        "amqp-commands-queue": "iot.node-commands.gateway.kitchen",
        "amqp-port": "5672",
    }
    assert (shown["protocols"], shown["host"]) == ("amqp", "192.0.2.0")
    nodes = decode_nodes((told(out).latest_content or {})[NODES])
    raw = base64.b64decode(nodes["kitchen"])
    assert raw[4:] == hashlib.sha256(raw[:4] + shown["amqp-password"].encode()).digest()
    assert out.unit_status == ops.WaitingStatus("Waiting for RabbitMQ (amqp) to learn who may use AMQP (1 node)")
    answered = served(out)
    (relation,) = answered.get_relations("amqp")
    out = context.run(context.on.relation_changed(relation), answered)
    assert isinstance(out.unit_status, ActiveStatus)


def test_a_node_of_another_protocol_is_told_nothing_of_it(context: Gateway, machine: Machine):
    out, shown = act(context, start(context), "add-node", name="kitchen")
    assert not [key for key in shown if key.startswith("amqp-")]
    assert told(out).latest_content == {NODES: "{}"}
    assert told(out).tracked_content == told(out).latest_content
    assert isinstance(out.unit_status, ActiveStatus)


def test_who_is_out_is_no_user_any_more(context: Gateway, machine: Machine):
    def users(state: State) -> set[str]:
        return set(decode_nodes((told(state).latest_content or {})[NODES]))

    out, first = act(context, start(context), "add-node", name="kitchen", credentials="amqp")
    out, _ = act(context, out, "add-node", name="shed", credentials="password,amqp")
    assert users(out) == {"kitchen", "shed"}
    out, second = act(context, out, "rotate-node-credentials", name="kitchen")
    assert first["amqp-password"] != second["amqp-password"]
    out, _ = act(context, out, "disable-node", name="kitchen")
    assert users(out) == {"shed"}
    out, _ = act(context, out, "enable-node", name="kitchen")
    assert users(out) == {"kitchen", "shed"}
    out, _ = act(context, out, "remove-node", name="shed")
    assert users(out) == {"kitchen"}


def test_every_unit_tells_rabbitmq_of_the_nodes(context: Gateway, machine: Machine):
    out, _ = act(context, start(context), "add-node", name="kitchen", credentials="amqp")
    others = {secret for secret in out.secrets if secret.label != amqp_nodes.SECRET}
    peers = out.get_relations("peers")[0]
    follower = dataclasses.replace(out, leader=False, secrets=others)
    out = context.run(context.on.relation_changed(peers, remote_unit=1), follower)
    assert set(decode_nodes((told(out).latest_content or {})[NODES])) == {"kitchen"}


def test_without_amqp_nodes_stay_known_and_rabbitmq_forgets_them(context: Gateway, machine: Machine):
    out, _ = act(context, start(context), "add-node", name="kitchen", credentials="amqp")
    out = context.run(context.on.config_changed(), dataclasses.replace(out, config={"amqp": False}))
    assert "nodes-secret" not in asked(out)
    assert not [secret for secret in out.secrets if secret.label == amqp_nodes.SECRET]
    assert machine.routes == {}
    assert out.opened_ports == {TCPPort(1883)}
    assert [node.name for node in machine.roster.added] == ["kitchen"]
    assert isinstance(out.unit_status, ActiveStatus)
    out = context.run(context.on.config_changed(), dataclasses.replace(out, config={"amqp": True}))
    assert set(decode_nodes((told(out).latest_content or {})[NODES])) == {"kitchen"}


def test_an_option_that_can_not_be_leaves_what_was_asked_for(context: Gateway, machine: Machine):
    out = start(context)
    bad = dataclasses.replace(out, config={"amqp": False, "amqp_port": -1})
    after = context.run(context.on.config_changed(), bad)
    assert asked(after) == asked(out)
    assert told(after).latest_content == {NODES: "{}"}


def test_tls_is_rabbitmq_s_own(context: Gateway, machine: Machine):
    out = start(context, {**OFFER, **WITH_TLS}, amqp_port=0, amqp_tls_port=6671)
    assert list(machine.routes.values()) == [Route(TLS, ADDRESSES, 6671, "10.0.0.2", 5671)]
    assert out.opened_ports == {TCPPort(1883), TCPPort(6671)}
    _, shown = act(context, out, "add-node", name="kitchen", credentials="amqp")
    assert (shown["amqp-tls-port"], shown["amqp-ca"], "amqp-port" in shown) == ("6671", "-----PEM-----\n", False)


def test_what_must_be_encrypted_has_no_way_without(context: Gateway, machine: Machine):
    start(context, {**OFFER, **WITH_TLS}, uplink_tls="required")
    assert set(machine.routes) == {TLS}
    start(context, OFFER, uplink_tls="required")
    assert machine.routes == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amqp_port": 1883}, "amqp_port=1883: must be another than mqtt_port"),
        ({"amqp_tls_port": 5672}, "amqp_tls_port=5672: must be another than amqp_port"),
        ({"amqp_port": 5560, "zeromq": True}, "amqp_port=5560: must be another than zeromq_pull_port"),
        ({"amqp_tls_port": 0}, "amqp_tls_port=0: "),
        ({"amqp_port": 65536}, "amqp_port=65536: "),
    ],
)
def test_ports_that_can_not_be(context: Gateway, machine: Machine, options: dict[str, Any], message: str):
    out = start(context, None, **options)
    assert isinstance(out.unit_status, BlockedStatus)
    assert out.unit_status.message.startswith(message)
    assert machine.routes == {}


def test_a_port_counts_only_where_it_is_used(context: Gateway, machine: Machine):
    assert isinstance(start(context, None, amqp_port=5560).unit_status, ActiveStatus)
    assert isinstance(start(context, None, amqp=False, amqp_port=1883).unit_status, ActiveStatus)


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ({}, "take nodes: the bundle's own charm, refreshed, does; or set amqp=false"),
        ({"nodes-exchange": "iot.nodes"}, "make the queue for nodes"),
        ({**OFFER, "nodes-served": "gateway/0:0123456789abcdef"}, "learn who may use AMQP (0 nodes)"),
    ],
)
def test_the_status_names_what_rabbitmq_has_not_done(
    context: Gateway, machine: Machine, answer: dict[str, str], missing: str
):
    assert start(context, answer).unit_status == ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to {missing}")


def test_the_status_names_a_port_that_is_taken(context: Gateway, machine: Machine):
    machine.taken_ports = {5672}
    assert start(context).unit_status == BlockedStatus(
        "amqp_port=5672 can't be listened on: another has it, or see journalctl -u iot-gateway-amqp.socket"
    )
    assert start(context, {**OFFER, **WITH_TLS}, amqp_port=0, amqp_tls_port=5672).unit_status == BlockedStatus(
        "amqp_tls_port=5672 can't be listened on: another has it, or see journalctl -u iot-gateway-amqps.socket"
    )


def test_the_status_names_tls_that_is_missing(context: Gateway, machine: Machine):
    assert start(context, None, amqp_port=0).unit_status == BlockedStatus(
        "amqp_port=0: nodes need TLS then, but RabbitMQ (amqp) has no certificate"
    )


def test_the_status_tells_of_the_relay_s_listener(context: Gateway, machine: Machine):
    listeners = {"mqtt": {"connected": True, "error": None}, "amqp": {"connected": False, "error": "no such queue"}}
    machine.status = relay_status(listeners=listeners)
    assert start(context).unit_status == ops.WaitingStatus(
        "Waiting for RabbitMQ (amqp) to hand over what nodes publish: no such queue"
    )


def test_more_nodes_than_a_secret_holds(context: Gateway, machine: Machine, monkeypatch: pytest.MonkeyPatch):
    out, whole = start(context), ops.Secret.set_content

    def refuse(secret: ops.Secret, content: dict[str, str]) -> None:
        if NODES in content:
            raise ops.ModelError("secret content too large")
        whole(secret, content)

    monkeypatch.setattr(ops.Secret, "set_content", refuse)
    with pytest.raises(ActionFailed, match=r"can't be told of 1 nodes .* secret content too large"):
        act(context, out, "add-node", name="kitchen", credentials="amqp")


def test_nodes_have_no_way_while_the_gateway_is_stopped(context: Gateway, machine: Machine):
    out = start(context)
    context.run(context.on.stop(), out)
    assert machine.stopped[0] == "routes"
    context.run(context.on.remove(), out)
    assert machine.routes == {}
