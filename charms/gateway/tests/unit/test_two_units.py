"""Two units of one application: gateways of their own, for the same nodes."""

import dataclasses
import json
from typing import Any

import pytest
from fakes import BROKER_SECRET, Machine, amqp, mqtt
from ops.testing import BlockedStatus, Context, PeerRelation, Relation, State

import relay_settings
from charm import GatewayCharm
from iot_gateway.nodes import credentials

Gateway = Context[GatewayCharm]

QUEUES = "iot.commands.site-1.gateway-0,iot.commands.site-1.gateway-1"


def answered(number: int) -> State:
    """Return the model as unit ``number`` sees it, once RabbitMQ has heard both."""
    asked = amqp(**{"commands-exchange": "iot.commands", "commands-queues": QUEUES})
    peers = PeerRelation("peers", id=7777, peers_data={1 - number: {}})
    relations = {asked, mqtt(u0="sensor-node-0", u1="sensor-node-1"), peers}
    return State(relations=relations, secrets={BROKER_SECRET}, leader=number == 0, planned_units=2)


def endpoint(state: State, name: str) -> Relation:
    (found,) = state.get_relations(name)
    assert isinstance(found, Relation)
    return found


@pytest.fixture
def units(machine: Machine) -> list[tuple[State, relay_settings.Settings, set[str]]]:
    """Each unit's model, and what its relay is told: settings, and whom it lets in."""
    found: list[tuple[State, relay_settings.Settings, set[str]]] = []
    for number in range(2):
        context = Context(GatewayCharm, unit_id=number)
        state = context.run(context.on.config_changed(), answered(number))
        assert machine.relay_settings
        found.append((state, machine.relay_settings, set(machine.users)))
    return found


def test_each_is_a_gateway_of_its_own_with_commands_of_its_own(units: list[Any]):
    for number, (state, settings, _) in enumerate(units):
        name = f"gateway-{number}"
        asked = endpoint(state, "amqp").local_unit_data
        assert (settings.gateway, asked["commands"]) == (name, f"site-1.{name}")
        assert settings.commands_queue == f"iot.commands.site-1.{name}"
        assert json.loads(endpoint(state, "mqtt").local_unit_data["gateway"]) == name


def test_both_know_all_nodes_each_by_a_password_of_its_own(units: list[Any]):
    offered: list[dict[str, str]] = []
    for state, _, users in units:
        assert users == {"sensor-node-0", "sensor-node-1"}
        offered.append(json.loads(endpoint(state, "mqtt").local_unit_data["credentials"]))
        assert offered[-1].keys() == {"sensor-node/0", "sensor-node/1"}
    assert not set(offered[0].values()) & set(offered[1].values())


def test_a_node_that_was_added_is_let_in_by_a_unit_that_comes_later(machine: Machine):
    first, second = (Context(GatewayCharm, unit_id=number) for number in range(2))
    state = first.run(first.on.config_changed(), answered(0))
    state = first.run(first.on.action("add-node", params={"name": "kitchen"}), state)
    assert first.action_results
    peers = dataclasses.replace(answered(1).get_relation(7777), local_app_data=state.get_relation(7777).local_app_data)
    pages = {secret for secret in state.secrets if secret.owner == "app"}
    later = answered(1)
    relations = {*(each for each in later.relations if each.id != 7777), peers}
    later = dataclasses.replace(later, relations=relations, secrets={BROKER_SECRET, *pages})
    second.run(second.on.config_changed(), later)
    (kitchen,) = machine.roster.added
    assert credentials.fits(kitchen.credential, first.action_results["password"])


def test_one_name_is_not_for_two(machine: Machine):
    context = Context(GatewayCharm, unit_id=1)
    named = dataclasses.replace(answered(1), config={"gateway_id": "main"})
    out = context.run(context.on.config_changed(), named)
    assert out.unit_status == BlockedStatus(
        "gateway_id='main': it names one gateway, and there are 2 units of gateway: reset it, "
        "and each has its unit's name"
    )
    assert machine.relay_settings is None
    context.run(context.on.config_changed(), dataclasses.replace(named, planned_units=1))
    assert machine.relay_settings is not None
