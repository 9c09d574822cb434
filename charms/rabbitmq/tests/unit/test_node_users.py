"""Users of nodes, by their differences."""

from typing import Any

import pytest

import node_users
from iot_charm import progress
from node_users import Changes, GatewayNodes, ensure_node_users

HASHES = {"a": "A" * 48, "b": "B" * 48}
ONE = GatewayNodes("gateway", "iot", "s.one", HASHES)
TWO = GatewayNodes("gateway", "iot", "s.two", HASHES)


@pytest.fixture
def broker(broker: Any) -> Any:
    """One that has things that are none of the charm's."""
    broker.declared["users"].append({"name": "john.doe", "tags": ["administrator"], "password_hash": "x"})
    broker.declared["permissions"].append(
        {"user": "john.doe", "vhost": "iot", "configure": "", "write": "", "read": ".*"}
    )
    broker.declared["queues"].append({"vhost": "iot", "name": "iot.nodes.s.one"})
    return broker


def names(broker: Any) -> dict[str, str]:
    """Return the users of nodes and the hashes of their passwords."""
    return {
        user["name"]: user["password_hash"] for user in broker.declared["users"] if user["tags"] == [node_users.TAG]
    }


def bindings(broker: Any) -> set[tuple[str, str]]:
    return {(entry["destination"], entry["routing_key"]) for entry in broker.declared["bindings"]}


def test_a_node_gets_a_user_its_permissions_and_a_queue(broker: Any):
    assert ensure_node_users(broker, [ONE, TWO]) == Changes(made=2, removed=0)
    assert names(broker) == {"gateway.a": "A" * 48, "gateway.b": "B" * 48}
    permissions = {entry["user"]: entry for entry in broker.declared["permissions"]}
    assert permissions["gateway.a"]["write"] == r"^iot\.nodes$"
    assert [(entry["user"], entry["exchange"]) for entry in broker.declared["topic_permissions"]] == [
        ("gateway.a", "iot.nodes"),
        ("gateway.b", "iot.nodes"),
    ]
    assert bindings(broker) == {
        (f"iot.node-commands.gateway.{node}", f"s.{gateway}.{node}") for node in "ab" for gateway in ("one", "two")
    }


def test_what_is_there_already_is_not_declared_again(broker: Any, monkeypatch: pytest.MonkeyPatch):
    ensure_node_users(broker, [ONE, TWO])
    for name in ("declare", "delete_users", "delete_permissions"):
        monkeypatch.setattr(broker, name, lambda *_: pytest.fail("nothing is to change"))
    before = {kind: list(entries) for kind, entries in broker.declared.items()}
    assert ensure_node_users(broker, [TWO, ONE]) == Changes(made=0, removed=0)
    assert broker.declared == before


def test_a_node_that_is_not_asked_for_goes_with_all_that_it_had(broker: Any):
    before = {kind: list(entries) for kind, entries in broker.declared.items()}
    ensure_node_users(broker, [ONE])
    only_b = GatewayNodes("gateway", "iot", "s.one", {"b": "B" * 48})
    assert ensure_node_users(broker, [only_b]) == Changes(made=0, removed=1)
    assert names(broker) == {"gateway.b": "B" * 48}
    assert bindings(broker) == {("iot.node-commands.gateway.b", "s.one.b")}
    ensure_node_users(broker, [])
    assert broker.declared == before


def test_a_gateway_that_leaves_takes_its_keys_along(broker: Any):
    ensure_node_users(broker, [ONE, TWO])
    assert ensure_node_users(broker, [TWO]) == Changes(made=0, removed=0)
    assert bindings(broker) == {(f"iot.node-commands.gateway.{node}", f"s.two.{node}") for node in "ab"}
    assert broker.declared["topic_permissions"][-1]["write"].startswith(r"^(s\.two)\.b")


def test_a_gateway_that_moves_to_another_virtual_host_takes_its_nodes_along(broker: Any):
    ensure_node_users(broker, [ONE])
    assert ensure_node_users(broker, [GatewayNodes("gateway", "lab", "s.one", HASHES)]) == Changes(0, 0)
    for kind in ("permissions", "topic_permissions", "queues", "bindings"):
        assert {entry["vhost"] for entry in broker.declared[kind] if "gateway" in str(entry)} == {"lab"}, kind


def test_a_user_that_knows_no_limits_gets_them_and_keeps_its_connections(broker: Any):
    ensure_node_users(broker, [ONE])
    (former,) = (user for user in broker.declared["users"] if user["name"] == "gateway.a")
    assert former.pop("limits") == {"max-connections": 10, "max-channels": 100}
    assert ensure_node_users(broker, [ONE]) == Changes(made=1, removed=0)
    (user,) = (user for user in broker.declared["users"] if user["name"] == "gateway.a")
    assert user["limits"] == {"max-connections": 10, "max-channels": 100}


def test_another_password_makes_the_user_anew(broker: Any):
    ensure_node_users(broker, [ONE])
    rotated = GatewayNodes("gateway", "iot", "s.one", {**HASHES, "a": "C" * 48}, is_new=True)
    assert ensure_node_users(broker, [rotated]) == Changes(made=1, removed=1)
    assert names(broker) == {"gateway.a": "C" * 48, "gateway.b": "B" * 48}
    assert len(broker.declared["permissions"]) == 3
    assert len(broker.declared["topic_permissions"]) == 2


def test_the_password_that_a_unit_names_newly_counts_and_stays(broker: Any):
    ensure_node_users(broker, [ONE, TWO])
    rotated = {**HASHES, "a": "C" * 48}
    for unit, other in (("s.one", TWO), ("s.two", ONE)):
        again = GatewayNodes("gateway", "iot", unit, rotated, is_new=True)
        ensure_node_users(broker, [again, other])
        assert names(broker)["gateway.a"] == "C" * 48
        later = GatewayNodes("gateway", "iot", unit, rotated)
        assert ensure_node_users(broker, [other, later]) == Changes(made=0, removed=0)
        ensure_node_users(broker, [GatewayNodes("gateway", "iot", unit, HASHES, is_new=True), other])
        assert names(broker)["gateway.a"] == "A" * 48


def test_what_cannot_be_read_leaves_the_users_as_they_are(broker: Any):
    ensure_node_users(broker, [ONE, TWO])
    before = {kind: list(entries) for kind, entries in broker.declared.items()}
    unread = GatewayNodes("gateway", "iot", "s.one", None)
    assert ensure_node_users(broker, [unread, TWO]) == Changes(made=0, removed=0)
    assert broker.declared == before
    assert ensure_node_users(broker, [unread]) == Changes(made=0, removed=0)
    assert bindings(broker) == {(f"iot.node-commands.gateway.{node}", f"s.one.{node}") for node in "ab"}
    assert ensure_node_users(broker, [GatewayNodes("gateway", "iot", "s.two", None)]) == Changes(made=0, removed=2)


def test_who_can_not_be_heard_keeps_the_nodes_of_gateways_that_nobody_else_names(broker: Any):
    stranger = GatewayNodes("other", "iot", "s.three", HASHES)
    ensure_node_users(broker, [ONE, TWO, stranger])
    before = {kind: list(entries) for kind, entries in broker.declared.items()}
    assert ensure_node_users(broker, [ONE, stranger], {"gateway"}) == Changes(made=0, removed=0)
    assert broker.declared == before
    only_b = GatewayNodes("gateway", "iot", "s.one", {"b": "B" * 48})
    assert ensure_node_users(broker, [only_b], {"gateway"}) == Changes(made=0, removed=2)
    assert names(broker) == {"gateway.a": "A" * 48, "gateway.b": "B" * 48}
    assert ("iot.node-commands.gateway.a", "s.one.a") not in bindings(broker)


def test_thousands_go_in_few_requests(broker: Any, monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    declare = broker.declare

    def measure(entries: dict[str, list[Any]]) -> None:
        sizes.extend(len(listed) for listed in entries.values())
        declare(entries)

    monkeypatch.setattr(broker, "declare", measure)
    hashes = {f"node-{number}": "A" * 48 for number in range(600)}
    ensure_node_users(broker, [GatewayNodes("gateway", "iot", "s.one", hashes)])
    assert sizes == [500, 100] * 5
    assert ensure_node_users(broker, []) == Changes(made=0, removed=600)


def test_it_is_told_when_thousands_lose_a_gateway(broker: Any, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(progress, "announce", said.append)
    hashes = {f"node-{number}": "A" * 48 for number in range(600)}
    ensure_node_users(broker, [GatewayNodes("gateway", "iot", key, hashes) for key in ("s.one", "s.two")])
    ensure_node_users(broker, [GatewayNodes("gateway", "iot", "s.two", hashes)])
    assert said == [
        "Telling RabbitMQ of nodes: 600 to make, 0 to remove",
        "Telling RabbitMQ that 600 nodes are of one gateway less",
    ]
    assert {key for _, key in bindings(broker)} == {f"s.two.{node}" for node in hashes}
