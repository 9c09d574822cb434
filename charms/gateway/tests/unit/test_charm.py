"""What the charm makes of its configuration and its relations."""

import dataclasses
import json
from typing import Any

import ops
import ops.testing
import pytest
from fakes import BROKER_SECRET, Machine, amqp, mqtt, outbox, relay_status
from ops.testing import ActiveStatus, BlockedStatus, Context, State, WaitingStatus

import relay_settings
from charm import GatewayCharm

Gateway = Context[GatewayCharm]


def state(*relations: ops.testing.Relation, **changes: Any) -> State:
    return State(relations=set(relations), secrets={BROKER_SECRET}, leader=True, **changes)


def published(out: State, relation: ops.testing.Relation) -> dict[str, Any]:
    return {
        key: json.loads(value) for key, value in out.get_relation(relation.id).local_unit_data.items() if "-" not in key
    }


def credentials(out: State, relation: ops.testing.Relation) -> dict[str, dict[str, str]]:
    """Return what each unit finds in the secret that it is given."""
    by_id = {secret.id.rpartition(":")[2].rpartition("/")[2]: secret for secret in out.secrets}
    return {
        unit: by_id[identifier.rpartition(":")[2].rpartition("/")[2]].latest_content or {}
        for unit, identifier in published(out, relation)["credentials"].items()
    }


def test_without_relations_it_says_what_is_missing(context: Gateway, machine: Machine):
    out = context.run(context.on.config_changed(), state())
    assert out.unit_status == BlockedStatus("Missing required amqp relation")
    assert machine.topic_prefix == "telemetry"
    assert machine.users == {}
    assert machine.installed is not None
    assert machine.relay_settings is None
    assert out.opened_ports == {ops.testing.TCPPort(1883)}


def test_it_asks_rabbitmq_for_a_user_that_may_publish(context: Gateway, machine: Machine):
    relation = ops.testing.Relation("amqp", remote_app_name="rabbitmq")
    out = context.run(context.on.relation_created(relation), state(relation))
    asked = out.get_relation(relation.id).local_unit_data
    assert (asked["username"], asked["vhost"], asked["access"]) == ("gateway", "iot", "publish")
    assert out.unit_status == WaitingStatus("Waiting for RabbitMQ (amqp)")
    assert machine.relay_settings is None


def test_the_relay_runs_with_what_rabbitmq_answers(context: Gateway, machine: Machine):
    relation = amqp(**{"batch-encoding": "identity", "exchange": "other"})
    out = context.run(context.on.relation_changed(relation), state(relation))
    assert machine.relay_settings is not None
    assert (
        machine.relay_settings.amqp_host,
        machine.relay_settings.amqp_port,
        machine.relay_settings.amqp_username,
    ) == (
        "10.0.0.2",
        5672,
        "gateway",
    )
    assert (machine.relay_settings.batch_encoding, machine.relay_settings.exchange) == ("identity", "other")
    assert (machine.relay_settings.gateway, machine.relay_settings.site) == ("gateway-0", "site-1")
    assert machine.amqp_password == "amqp-password"
    assert machine.waited == 1
    assert out.unit_status == ActiveStatus("Ready (0 nodes, outbox empty)")


def test_a_broker_that_has_no_secrets_to_give(context: Gateway, machine: Machine):
    relation = ops.testing.Relation(
        "amqp", remote_app_name="rabbitmq-server", remote_units_data={0: {"hostname": "10.0.0.3", "password": "plain"}}
    )
    context.run(context.on.relation_changed(relation), state(relation))
    assert machine.amqp_password == "plain"


def test_a_secret_that_is_not_granted_yet_is_waited_for(context: Gateway, machine: Machine):
    relation = amqp(**{"password-secret": "secret:unknown"})
    out = context.run(context.on.relation_changed(relation), state(relation))
    assert out.unit_status == WaitingStatus("Waiting for RabbitMQ (amqp)")


def test_an_answer_that_the_interface_does_not_allow_blocks(context: Gateway, machine: Machine):
    relation = amqp(port="many")
    out = context.run(context.on.relation_changed(relation), state(relation))
    assert isinstance(out.unit_status, BlockedStatus)
    assert "port" in out.unit_status.message
    assert machine.relay_settings is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("site", "a.b"),
        ("gateway_id", "*"),
        ("topic_prefix", "a/#"),
        ("mqtt_port", -1),
        ("batch_size", 0),
        ("batch_age", 5),
        ("outbox_max_bytes", "1KiB"),
        ("outbox_max_bytes", "lots"),
        ("outbox_full", "drop"),
        ("outbox_max_age", -1),
        ("resend_order", "newest"),
        ("resend_rate", -1),
        ("metrics_port", 65536),
        ("metrics_port", 1883),
        ("log_level", "TRACE"),
        ("mqtt_tls_port", 1883),
        ("client_certificates", "maybe"),
        ("client_ca", "no PEM"),
        ("certificate_names", "a/b"),
        ("uplink_tls", "off"),
    ],
)
def test_a_bad_option_blocks_and_nothing_is_changed(context: Gateway, machine: Machine, option: str, value: str | int):
    out = context.run(context.on.config_changed(), state(amqp(), config={option: value}))
    assert isinstance(out.unit_status, BlockedStatus)
    assert out.unit_status.message.startswith(f"{option}=")
    assert machine.topic_prefix is None


def test_zeromq_needs_a_port(context: Gateway, machine: Machine):
    ports = {"zeromq_pull_port": 0, "zeromq_router_port": 0}
    out = context.run(context.on.config_changed(), state(amqp(), config={"zeromq": True, **ports}))
    assert isinstance(out.unit_status, BlockedStatus)
    assert out.unit_status.message.startswith("zeromq_router_port=0: ")
    assert machine.topic_prefix is None
    context.run(context.on.config_changed(), state(amqp(), config=ports))
    assert machine.relay_settings is not None


def test_options_reach_the_relay(context: Gateway, machine: Machine):
    config = {"outbox_max_bytes": "2MiB", "gateway_id": "gw", "topic_prefix": "a/b", "batch_size": 7, "batch_age": 70}
    context.run(context.on.config_changed(), state(amqp(), config=config))
    assert machine.relay_settings is not None
    assert (
        machine.relay_settings.outbox.max_bytes,
        machine.relay_settings.gateway,
        machine.relay_settings.listener.topic_prefix,
    ) == (2097152, "gw", "a/b")
    assert (machine.relay_settings.batch_size, machine.relay_settings.batch_age) == (7, 70)
    assert machine.topic_prefix == "a/b"


def test_how_readings_wait_is_configured(context: Gateway, machine: Machine):
    config: dict[str, Any] = {
        "outbox_max_bytes": "1GiB",
        "outbox_full": "drop-oldest",
        "outbox_max_age": 86400,
        "resend_order": "newest-first",
        "resend_rate": 2000,
        "metrics_port": 9102,
    }
    context.run(context.on.config_changed(), state(amqp(), config=config))
    assert machine.relay_settings is not None
    assert machine.relay_settings.outbox == relay_settings.Outbox(2**30, "drop-oldest", 86400, "newest-first", 2000)
    assert machine.relay_settings.metrics_port == 9102


def test_every_unit_gets_an_identity_that_it_alone_can_read(context: Gateway, machine: Machine):
    relation = mqtt(u0="sensor-node-0", u1="sensor-node-1")
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    told = published(out, relation)
    assert (told["port"], told["site"], told["gateway"], told["topic_prefix"]) == (
        1883,
        "site-1",
        "gateway-0",
        "telemetry",
    )
    given = credentials(out, relation)
    assert {unit: content["username"] for unit, content in given.items()} == {
        "sensor-node/0": "sensor-node-0",
        "sensor-node/1": "sensor-node-1",
    }
    assert given["sensor-node/0"]["password"] != given["sensor-node/1"]["password"]
    for unit, content in given.items():
        assert machine.users[content["username"]] == content["password"]
        secret = out.get_secret(label=f"mqtt-{relation.id}-{unit}")
        assert secret.remote_grants == {relation.id: {unit}}
        assert secret.owner == "unit"
    assert out.unit_status == ActiveStatus("Ready (2 nodes, outbox empty)")


def test_without_a_relay_nobody_gets_an_identity(context: Gateway, machine: Machine):
    relation = mqtt(u0="sensor-node-0")
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state(relation))
    assert out.get_relation(relation.id).local_unit_data.get("credentials") is None
    assert machine.users == {}


def test_an_identity_stays_the_same(context: Gateway, machine: Machine):
    relation = mqtt(u0="sensor-node-0")
    first = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    password = machine.users["sensor-node-0"]
    second = context.run(context.on.update_status(), first)
    assert machine.users["sensor-node-0"] == password
    assert published(second, relation) == published(first, relation)
    assert machine.waited == 1


def test_a_node_that_takes_another_name_gets_it_into_its_secret(context: Gateway, machine: Machine):
    relation = mqtt(u0="sensor-node-0")
    first = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    renamed = dataclasses.replace(first.get_relation(relation.id), remote_units_data={0: {"node": '"kitchen"'}})
    relations = {renamed if each.id == renamed.id else each for each in first.relations}
    out = context.run(
        context.on.relation_changed(renamed, remote_unit=0), dataclasses.replace(first, relations=relations)
    )
    assert set(machine.users) == {"kitchen"}
    assert credentials(out, relation)["sensor-node/0"]["username"] == "kitchen"


def test_the_identity_of_a_unit_that_departs_is_withdrawn(context: Gateway, machine: Machine):
    relation = mqtt(u0="sensor-node-0", u1="sensor-node-1")
    first = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    present = first.get_relation(relation.id)
    out = context.run(context.on.relation_departed(present, remote_unit=1, departing_unit=1), first)
    assert set(machine.users) == {"sensor-node-0"}
    assert set(published(out, relation)["credentials"]) == {"sensor-node/0"}
    labels = {secret.label for secret in out.secrets}
    assert f"mqtt-{relation.id}-sensor-node/0" in labels
    assert f"mqtt-{relation.id}-sensor-node/1" not in labels


@pytest.mark.parametrize("name", ["iot-gateway", "smoke-test"])
def test_a_node_cannot_take_a_name_of_the_gateway(context: Gateway, machine: Machine, name: str):
    relation = mqtt(u0=name)
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    assert out.unit_status == BlockedStatus(f"sensor-node/0 can't be called {name}: the gateway uses that name")
    assert published(out, relation)["credentials"] == {}


@pytest.mark.parametrize("name", ["a.b", "a/b", "#"])
def test_a_node_whose_name_is_no_word_of_a_routing_key_is_not_let_in(context: Gateway, machine: Machine, name: str):
    relation = mqtt(u0=name)
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    assert isinstance(out.unit_status, BlockedStatus)
    assert f"sensor-node/0 published node={name!r}" in out.unit_status.message
    assert published(out, relation)["credentials"] == {}


def test_two_units_cannot_have_one_name(context: Gateway, machine: Machine):
    relation = mqtt(u0="kitchen", u1="kitchen", u2="", u3="no/slash")
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state(amqp(), relation))
    assert out.unit_status == BlockedStatus("sensor-node/1 can't be called kitchen: sensor-node/0 is")
    assert set(published(out, relation)["credentials"]) == {"sensor-node/0"}


def test_the_relation_to_rabbitmq_breaks_and_the_relay_goes_on_storing(context: Gateway, machine: Machine):
    broker, nodes = amqp(), mqtt(u0="sensor-node-0")
    first = context.run(context.on.relation_changed(nodes, remote_unit=0), state(broker, nodes))
    out = context.run(context.on.relation_broken(first.get_relation(broker.id)), first)
    assert out.unit_status == BlockedStatus("Missing required amqp relation")
    assert machine.stopped == []
    assert set(published(out, nodes)["credentials"]) == {"sensor-node/0"}


OUTBOX = {"telemetry": outbox(entries=34_000, bytes=700, oldest_seconds=12.3), "dead-letters": outbox()}


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (
            {"outbox": OUTBOX, "dead_letters_total": 1},
            ActiveStatus("Ready (0 nodes, 12 s behind, 34,000 readings in the outbox, 1 dead letter)"),
        ),
        (
            {"outbox": {"telemetry": outbox(dropped_total={"bytes": 1200, "age": 34})}},
            ActiveStatus("Ready (0 nodes, outbox empty, 1,234 readings dropped)"),
        ),
        (
            {"outbox": OUTBOX, "uplink": {"connected": False, "blocked": False, "error": "refused"}},
            WaitingStatus("Waiting for RabbitMQ (amqp), 12 s behind, 34,000 readings in the outbox: refused"),
        ),
        (
            {"uplink": {"connected": True, "blocked": True, "error": None}},
            WaitingStatus("Waiting for RabbitMQ (amqp) to take readings: it is short of memory or disk"),
        ),
        (
            {"listeners": {"mqtt": {"connected": False, "error": "bad password"}}},
            WaitingStatus("Waiting for mosquitto: bad password"),
        ),
        ({"refusal": "the disk is full"}, BlockedStatus("Nothing is acknowledged: the disk is full")),
    ],
)
def test_the_status_says_how_the_relay_stands(
    context: Gateway, machine: Machine, seen: dict[str, Any], status: ops.StatusBase
):
    machine.status = relay_status(**seen)
    out = context.run(context.on.update_status(), state(amqp()))
    assert out.unit_status == status


def test_daemons_that_do_not_run(context: Gateway, machine: Machine):
    first = context.run(context.on.config_changed(), state(amqp()))
    machine.status = None
    assert context.run(context.on.collect_unit_status(), first).unit_status == BlockedStatus(
        "The relay is not running: see journalctl -u iot-gateway"
    )
    machine.status = relay_status()
    machine.mosquitto_runs = False
    assert context.run(context.on.update_status(), first).unit_status == BlockedStatus(
        "mosquitto is not running: see journalctl -u mosquitto"
    )


def test_stop_and_remove(context: Gateway, machine: Machine):
    context.run(context.on.stop(), state(amqp()))
    context.run(context.on.remove(), state(amqp()))
    assert machine.stopped == ["routes", "relay", "mosquitto", "relay removed", "mosquitto removed"]


def test_show_relay_status(context: Gateway, machine: Machine):
    first = context.run(context.on.config_changed(), state(amqp()))
    context.run(context.on.action("show-relay-status"), first)
    assert context.action_results is not None
    assert (context.action_results["received"], context.action_results["behind-seconds"]) == (12, 1.5)
    assert context.action_results["outbox"] == {"readings": 0, "bytes": 0, "dropped": 0}
    assert json.loads(context.action_results["all"])["confirmed"] == 20


def test_plan_buffer(context: Gateway, machine: Machine):
    machine.plan = {"answer": "1 h", "seconds": 3600, "seconds_at_peak": None, "assumptions": ["one", "two"]}
    first = context.run(context.on.config_changed(), state(amqp()))
    context.run(context.on.action("plan-buffer"), first)
    assert context.action_results == {"answer": "1 h", "seconds": 3600, "assumptions": "one; two"}
    machine.plan = None
    with pytest.raises(ops.testing.ActionFailed, match="no relay answers"):
        context.run(context.on.action("plan-buffer"), first)


def test_show_relay_status_of_a_relay_that_does_not_run(context: Gateway, machine: Machine):
    with pytest.raises(ops.testing.ActionFailed, match="no relay answers"):
        context.run(context.on.action("show-relay-status"), state())
