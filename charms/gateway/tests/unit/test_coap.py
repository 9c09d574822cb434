"""CoAP: its options, its port, what the relay is told of it."""

from typing import Any

import pytest
from fakes import BROKER_SECRET, Machine, amqp, relay_status
from ops.testing import ActiveStatus, BlockedStatus, Context, PeerRelation, State, TCPPort, UDPPort

import relay_settings
from charm import GatewayCharm

Gateway = Context[GatewayCharm]


def with_options(context: Gateway, **options: Any) -> State:
    relation = amqp()
    relations = {relation, PeerRelation("peers", peers_data={1: {}})}
    state = State(relations=relations, secrets={BROKER_SECRET}, leader=True, config=options)
    return context.run(context.on.relation_changed(relation), state)


def test_there_is_none_unless_it_is_wanted(context: Gateway, machine: Machine):
    out = with_options(context)
    assert machine.relay_settings is not None
    assert machine.relay_settings.coap is None
    assert out.opened_ports == {TCPPort(1883)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, relay_settings.Coap(5683, allow_plain=False, lwm2m=True)),
        (
            {"coap_port": 6000, "coap_plain": True, "lwm2m": False},
            relay_settings.Coap(6000, allow_plain=True, lwm2m=False),
        ),
    ],
)
def test_its_options_reach_the_relay(
    context: Gateway, machine: Machine, options: dict[str, Any], expected: relay_settings.Coap
):
    out = with_options(context, coap=True, **options)
    assert isinstance(out.unit_status, ActiveStatus)
    assert machine.relay_settings is not None
    assert machine.relay_settings.coap == expected
    assert out.opened_ports == {TCPPort(1883), UDPPort(expected.port)}


def test_a_port_that_cant_be(context: Gateway, machine: Machine):
    out = with_options(context, coap=True, coap_port=70000)
    assert isinstance(out.unit_status, BlockedStatus)
    assert "coap_port" in out.unit_status.message
    assert machine.relay_settings is None


def test_a_port_that_is_taken(context: Gateway, machine: Machine):
    out = with_options(context, coap=True)
    listeners = {"mqtt": {"connected": True, "error": None}, "coap": {"connected": False, "error": "in use"}}
    machine.status = relay_status(listeners=listeners)
    out = context.run(context.on.update_status(), out)
    assert out.unit_status == BlockedStatus("CoAP can't listen, see coap_port: in use")


def test_a_node_is_told_the_port(context: Gateway, machine: Machine):
    out = with_options(context, coap=True)
    context.run(context.on.action("add-node", params={"name": "kitchen", "credentials": "oscore"}), out)
    assert context.action_results is not None
    assert context.action_results["coap-port"] == "5683"
    assert context.action_results["oscore-secret"]
    assert machine.roster.added[0].protocols == frozenset({"coap"})
