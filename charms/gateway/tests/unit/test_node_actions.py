"""Nodes that an operator adds: what the actions answer, what is kept, and who is let in."""

import dataclasses
import json
import time
from typing import Any

import pytest
import zmq
from fakes import BROKER_SECRET, Machine, amqp, mqtt, relay_status
from ops.testing import ActionFailed, Context, PeerRelation, State, TCPPort, WaitingStatus

import registry
from charm import GatewayCharm
from iot_gateway.nodes import credentials

Gateway = Context[GatewayCharm]

PEERS = PeerRelation("peers", id=7777, peers_data={1: {}})


@pytest.fixture
def ready(context: Gateway, machine: Machine) -> State:
    """A leader whose relay runs, with a related node."""
    nodes = mqtt(u0="sensor-node-0")
    first = State(relations={amqp(), nodes, PEERS}, secrets={BROKER_SECRET}, leader=True)
    return context.run(context.on.relation_changed(nodes, remote_unit=0), first)


def act(context: Gateway, before: State, action: str, **params: Any) -> tuple[State, dict[str, Any]]:
    words = {name.replace("_", "-"): value for name, value in params.items()}
    out = context.run(context.on.action(action, params=words), before)
    assert context.action_results is not None
    return out, dict(context.action_results)


def added(machine: Machine) -> dict[str, Any]:
    return {node.name: node for node in machine.roster.added}


def test_a_node_is_added_and_its_password_shown_once(context: Gateway, machine: Machine, ready: State):
    out, shown = act(context, ready, "add-node", name="kitchen")
    assert (shown["username"], shown["protocols"], shown["topic"]) == ("kitchen", "mqtt", "telemetry/kitchen")
    assert credentials.fits(added(machine)["kitchen"].credential, shown["password"])
    (page,) = [secret for secret in out.secrets if (secret.label or "").startswith(registry.LABEL)]
    assert page.owner == "app"
    assert shown["password"] not in json.dumps(page.latest_content)
    assert set(machine.users) == {"sensor-node-0"}
    again = context.run(context.on.update_status(), out)
    assert again.unit_status.message.startswith("Ready (2 nodes")


def test_every_unit_serves_the_node_and_only_the_leader_changes_it(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    follower = dataclasses.replace(out, leader=False)
    machine.ensure_nodes(dataclasses.replace(machine.roster, added=()))
    context.run(context.on.relation_changed(out.get_relation(PEERS.id), remote_unit=1), follower)
    assert set(added(machine)) == {"kitchen"}
    for action in ("add-node", "remove-node", "disable-node"):
        name = "cellar" if action == "add-node" else "kitchen"
        with pytest.raises(ActionFailed, match=r"is not the leader.*juju run gateway/leader"):
            act(context, follower, action, name=name)


def test_what_is_there_already_is_not_added_again(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen", credentials="certificate", common_name="k.example")
    for params, reason in (
        ({"name": "kitchen"}, "there already; rotate-node-credentials"),
        ({"name": "sensor-node-0"}, "the node of unit sensor-node/0"),
        ({"name": "smoke-test"}, "the gateway uses that name"),
        ({"name": "a/b"}, "name='a/b'"),
        ({"name": "b", "credentials": "token"}, "credentials='token'"),
        ({"name": "k.example"}, "letters, digits"),
        ({"name": "b", "credentials": "certificate", "common_name": "k.example"}, "it is that of node kitchen"),
        ({"name": "b", "credentials": "certificate", "common_name": "kitchen"}, "it is that of node kitchen"),
        ({"name": "b", "credentials": "certificate", "common_name": "sensor-node-0"}, "a related unit"),
    ):
        with pytest.raises(ActionFailed, match=reason):
            act(context, out, "add-node", **params)
    assert set(added(machine)) == {"kitchen"}


def test_one_key_is_one_node_s(context: Gateway, machine: Machine, ready: State):
    out, shown = act(context, ready, "add-node", name="kitchen", credentials="curve")
    assert len(shown["secret-key"]) == 40
    with pytest.raises(ActionFailed, match="it is that of node kitchen"):
        act(context, out, "add-node", name="cellar", credentials="curve", public_key=shown["public-key"])


def test_zeromq_has_one_key_for_all_units(context: Gateway, machine: Machine, ready: State):
    on = dataclasses.replace(ready, config={"zeromq": True, "zeromq_pull_port": 0})
    out = context.run(context.on.config_changed(), on)
    assert machine.relay_settings is not None
    zeromq = machine.relay_settings.zeromq
    assert zeromq is not None
    assert (zeromq.pull_port, zeromq.router_port) == (0, 5561)
    assert zeromq.secret_key not in repr(zeromq)
    assert TCPPort(5561) in out.opened_ports
    follower = dataclasses.replace(out, leader=False)
    machine.relay_settings = None
    context.run(context.on.relation_changed(out.get_relation(PEERS.id), remote_unit=1), follower)
    assert machine.relay_settings.zeromq == zeromq  # pyright: ignore[reportOptionalMemberAccess]
    _, shown = act(context, out, "add-node", name="kitchen", credentials="curve")
    assert zmq.curve_public(zeromq.secret_key.encode()).decode() == shown["zeromq-server-key"]
    assert (shown["zeromq-router-port"], "zeromq-pull-port" in shown) == ("5561", False)


def test_a_unit_waits_for_the_key(context: Gateway, machine: Machine, ready: State):
    follower = dataclasses.replace(ready, leader=False, config={"zeromq": True})
    out = context.run(context.on.config_changed(), follower)
    assert out.unit_status == WaitingStatus("Waiting for the leader to make the key for ZeroMQ")
    machine.status = relay_status(
        listeners={"mqtt": {"connected": True, "error": None}, "zeromq": {"connected": False, "error": "in use"}}
    )
    out = context.run(context.on.update_status(), follower)
    assert out.unit_status.message.startswith("ZeroMQ can't listen")


def test_a_related_unit_can_not_take_an_added_node_s_name(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    nodes = mqtt(u0="kitchen")
    with_another = dataclasses.replace(out, relations={*out.relations, nodes})
    after = context.run(context.on.relation_changed(nodes, remote_unit=0), with_another)
    assert "can't be called kitchen: that node was added by an action; run remove-node" in after.unit_status.message


def test_rotation_of_an_added_node(context: Gateway, machine: Machine, ready: State):
    out, first = act(context, ready, "add-node", name="kitchen")
    out, second = act(context, out, "rotate-node-credentials", name="kitchen")
    assert not credentials.fits(added(machine)["kitchen"].credential, first["password"])
    assert credentials.fits(added(machine)["kitchen"].credential, second["password"])
    with pytest.raises(ActionFailed, match="name='cellar': no node is called so"):
        act(context, out, "rotate-node-credentials", name="cellar")
    out, _ = act(context, out, "add-node", name="cellar", credentials="certificate")
    with pytest.raises(ActionFailed, match="its authority issues another"):
        act(context, out, "rotate-node-credentials", name="cellar")


def test_rotation_of_a_related_node(context: Gateway, machine: Machine, ready: State):
    former = machine.users["sensor-node-0"]
    follower = dataclasses.replace(ready, leader=False)
    out, shown = act(context, follower, "rotate-node-credentials", name="sensor-node-0")
    assert "password" not in shown
    assert "sensor-node/0 gets the new password" in shown["result"]
    (secret,) = [each for each in out.secrets if (each.label or "").startswith("mqtt-")]
    assert secret.latest_content == {"username": "sensor-node-0", "password": machine.users["sensor-node-0"]}
    assert machine.users["sensor-node-0"] != former


def test_rotation_before_the_relay_is_there(context: Gateway, machine: Machine):
    nodes = mqtt(u0="sensor-node-0")
    with pytest.raises(ActionFailed, match="the relay is not set up"):
        act(context, State(relations={nodes, PEERS}, leader=True), "rotate-node-credentials", name="sensor-node-0")


def test_disabled_and_enabled(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    for _ in range(2):  # once more changes nothing
        out, _ = act(context, out, "disable-node", name="kitchen")
        out, _ = act(context, out, "disable-node", name="sensor-node-0")
    assert not added(machine)["kitchen"].enabled
    assert machine.roster.suspended == {"sensor-node-0"}
    context.run(context.on.update_status(), out)
    assert machine.roster.suspended == {"sensor-node-0"}
    out, _ = act(context, out, "enable-node", name="kitchen")
    out, _ = act(context, out, "enable-node", name="sensor-node-0")
    assert added(machine)["kitchen"].enabled
    assert machine.roster.suspended == set()


def test_removed(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    out, _ = act(context, out, "add-node", name="cellar")
    out, _ = act(context, out, "remove-node", name="kitchen")
    assert set(added(machine)) == {"cellar"}
    out, _ = act(context, out, "remove-node", name="cellar")
    assert not [secret for secret in out.secrets if (secret.label or "").startswith(registry.LABEL)]
    with pytest.raises(ActionFailed, match="no node is called so"):
        act(context, out, "remove-node", name="cellar")
    with pytest.raises(ActionFailed, match="the node is that of unit sensor-node/0"):
        act(context, out, "remove-node", name="sensor-node-0")


def test_many_nodes_take_several_pages(
    context: Gateway, machine: Machine, ready: State, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry, "PAGE_NODES", 2)
    out = ready
    for number in range(5):
        out, _ = act(context, out, "add-node", name=f"n{number}")
    out, _ = act(context, out, "remove-node", name="n1")
    out, _ = act(context, out, "add-node", name="n5")
    assert len([secret for secret in out.secrets if (secret.label or "").startswith(registry.LABEL)]) == 3
    machine.ensure_nodes(dataclasses.replace(machine.roster, added=()))
    context.run(context.on.update_status(), out)
    assert set(added(machine)) == {"n0", "n2", "n3", "n4", "n5"}


def test_without_the_units_relation_to_each_other(context: Gateway, machine: Machine):
    with pytest.raises(ActionFailed, match="try again in a minute"):
        act(context, State(leader=True), "add-node", name="kitchen")


def test_a_page_that_can_not_be_read_blocks(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    (page,) = [secret for secret in out.secrets if (secret.label or "").startswith(registry.LABEL)]
    spoilt = dataclasses.replace(page, tracked_content={"node-0": "spoilt"}, latest_content={"node-0": "spoilt"})
    state = dataclasses.replace(out, secrets={*(each for each in out.secrets if each is not page), spoilt})
    assert "can't be read" in context.run(context.on.update_status(), state).unit_status.message
    gone = dataclasses.replace(out, secrets={each for each in out.secrets if each is not page})
    assert "can't be read" in context.run(context.on.update_status(), gone).unit_status.message


STRANGER = {"name": "shed", "protocol": "mqtt", "address": "10.0.0.9", "first": 1.0, "last": 2.0, "count": 3}


def test_a_stranger_is_shown_and_approved(context: Gateway, machine: Machine, ready: State):
    machine.status = relay_status(nodes={"inbox": [STRANGER, {**STRANGER, "protocol": "zeromq"}]})
    out, shown = act(context, ready, "list-strangers")
    assert shown["strangers"] == 2
    assert "shed  mqtt      10.0.0.9  3      1970-01-01T00:00:01Z  1970-01-01T00:00:02Z" in shown["table"]
    out, shown = act(context, out, "approve-node", name="shed")
    assert shown["protocols"] == "mqtt,zeromq"
    assert {"password", "secret-key"} <= shown.keys()
    assert set(added(machine)) == {"shed"}
    with pytest.raises(ActionFailed, match="no unknown node of that name tried to reach gateway/0"):
        act(context, out, "approve-node", name="cellar")


def test_a_stranger_may_be_given_another_kind_of_credentials(context: Gateway, machine: Machine, ready: State):
    machine.status = relay_status(nodes={"inbox": [STRANGER]})
    _, shown = act(context, ready, "approve-node", name="shed", credentials="certificate")
    assert shown["common-name"] == "shed"
    assert added(machine)["shed"].credential == ""


def test_the_nodes_are_listed(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    out, _ = act(context, out, "add-node", name="shed")
    out, _ = act(context, out, "disable-node", name="shed")
    seen = {"connected": ["mqtt"], "last_seen": time.time(), "protocol": "mqtt", "address": "10.0.0.9"}
    machine.states = {"sensor-node-0": seen}
    _, shown = act(context, out, "list-nodes")
    assert (shown["nodes"], shown["connected"], shown["listed"]) == (3, 1, "3 of 3")
    assert [(row["name"], row["state"], row["added_by"]) for row in json.loads(shown["all"])] == [
        ("kitchen", "away", "action"),
        ("sensor-node-0", "connected", "sensor-node/0"),
        ("shed", "disabled", "action"),
    ]
    _, shown = act(context, out, "list-nodes", state="away", limit=1)
    assert shown["listed"] == "1 of 1"
    machine.status = None
    _, shown = act(context, out, "list-nodes")
    assert shown["connected"] == "unknown"
    assert "unknown" in shown["table"]


def test_a_revision_that_nobody_reads_is_dropped(context: Gateway, machine: Machine, ready: State):
    out, _ = act(context, ready, "add-node", name="kitchen")
    out, _ = act(context, out, "disable-node", name="kitchen")
    out = context.run(context.on.update_status(), out)
    (page,) = [secret for secret in out.secrets if (secret.label or "").startswith(registry.LABEL)]
    context.run(context.on.secret_remove(page, revision=1), out)
    assert context.removed_secret_revisions == [1]
