"""What the charm makes of its options and relations."""

from dataclasses import replace
from typing import Any

import ops
import pytest
from ops import testing

import charm
from iot_charm.errors import DistributionError
from iot_charm.interfaces.rabbitmq import RabbitmqAnswer

Context = testing.Context[charm.FlumeRabbitmqCharm]


def test_installs_and_says_what_is_missing(context: Context, flume: Any, resource: testing.Resource):
    out = context.run(context.on.install(), testing.State(resources={resource}))
    assert flume.installed == resource.path
    assert out.workload_version == "1.11.0"
    assert out.unit_status == ops.BlockedStatus("Missing required amqp relation")
    assert not flume.running


def test_asks_for_a_user_that_may_consume(context: Context, resource: testing.Resource):
    relation = testing.Relation("amqp", remote_app_name="rabbitmq")
    out = context.run(context.on.relation_created(relation), testing.State(resources={resource}, relations={relation}))
    assert out.get_relation(relation.id).local_unit_data == {
        **out.get_relation(relation.id).local_unit_data,
        "username": "flume-rabbitmq",
        "vhost": "iot",
        "access": "consume",
    }


def test_without_a_sink(context: Context, state: testing.State, amqp: testing.Relation):
    out = context.run(context.on.update_status(), replace(state, relations={amqp}))
    assert out.unit_status == ops.BlockedStatus("Waiting for relation to Flume Sink")


def test_waits_for_the_broker_and_for_the_sink(
    context: Context, state: testing.State, amqp: testing.Relation, sink: testing.Relation, flume: Any
):
    silent = replace(amqp, remote_units_data={0: {}})
    out = context.run(context.on.update_status(), replace(state, relations={silent, sink}))
    assert out.unit_status == ops.WaitingStatus("Waiting for RabbitMQ")
    silent = replace(sink, remote_units_data={0: {}})
    out = context.run(context.on.update_status(), replace(state, relations={amqp, silent}))
    assert out.unit_status == ops.WaitingStatus("Waiting for Flume Sink to listen")
    assert not flume.running


def test_runs_the_agent_and_tells_the_sink(context: Context, state: testing.State, flume: Any, sink: testing.Relation):
    out = context.run(context.on.config_changed(), state)
    assert flume.running
    assert flume.configured
    broker, agent, heap = flume.configured
    assert (broker.addresses, broker.username, broker.password) == ((("10.0.0.2", 5672),), "flume-rabbitmq", "s3cret")
    assert (broker.queue, broker.vhost) == ("iot.telemetry", "iot")
    assert (agent.sources, agent.batch_size, heap) == (2, 20, 512)
    assert [target.host for target in agent.targets] == ["10.0.0.3"]
    told = out.get_relation(sink.id).local_unit_data
    assert (told["event_dir"], told["batch_encoding"]) == ('"flume-rabbitmq"', '"gzip"')
    assert "s3cret" not in str(told)
    assert out.unit_status == ops.ActiveStatus("Ready (iot.telemetry to flume-hdfs/0)")


def test_a_second_event_changes_nothing(context: Context, state: testing.State, flume: Any):
    context.run(context.on.update_status(), context.run(context.on.config_changed(), state))
    assert flume.starts == 1


def test_the_queue_option_wins(context: Context, state: testing.State, flume: Any):
    context.run(context.on.config_changed(), replace(state, config={"queue": "mine"}))
    assert flume.configured
    assert flume.configured[0].queue == "mine"


def test_a_public_broker_puts_the_password_into_the_databag(
    context: Context, state: testing.State, amqp: testing.Relation, sink: testing.Relation, flume: Any
):
    public = replace(amqp, remote_units_data={0: {"hostname": "10.0.0.9", "password": "plain"}})
    context.run(context.on.relation_changed(public), replace(state, relations={public, sink}))
    assert flume.configured
    assert (flume.configured[0].addresses, flume.configured[0].password) == ((("10.0.0.9", 5672),), "plain")


@pytest.fixture
def secured(amqp: testing.Relation) -> testing.Relation:
    offer = {"ssl_port": "5671", "ssl_ca": RabbitmqAnswer.encoded("PEM")}
    return replace(amqp, remote_units_data={0: {**amqp.remote_units_data[0], **offer}})


def test_tls_where_it_is_offered(
    context: Context, state: testing.State, secured: testing.Relation, sink: testing.Relation, flume: Any
):
    out = context.run(context.on.relation_changed(secured), replace(state, relations={secured, sink}))
    assert (flume.configured[0].addresses, flume.configured[0].ca) == ((("10.0.0.2", 5671),), "PEM\n")
    assert out.unit_status == ops.ActiveStatus("Ready (iot.telemetry over TLS to flume-hdfs/0)")
    context.run(context.on.update_status(), state)
    assert flume.configured[0].ca == ""
    assert any("TLS no more" in log.message for log in context.juju_log)


def test_a_broker_that_offers_no_tls_yet_is_not_talked_to_while_others_do(
    context: Context, state: testing.State, secured: testing.Relation, sink: testing.Relation, flume: Any
):
    late = {**secured.remote_units_data[0], "hostname": "10.0.0.5", "ssl_port": "0", "ssl_ca": ""}
    cluster = replace(secured, remote_units_data={**secured.remote_units_data, 1: late})
    context.run(context.on.relation_changed(cluster), replace(state, relations={cluster, sink}))
    assert flume.configured[0].addresses == (("10.0.0.2", 5671),)


def test_tls_required(
    context: Context, state: testing.State, secured: testing.Relation, sink: testing.Relation, flume: Any
):
    required = replace(state, config={"broker_tls": "required"})
    out = context.run(context.on.config_changed(), required)
    assert out.unit_status == ops.WaitingStatus(
        "Waiting for RabbitMQ (amqp) to offer TLS, as broker_tls=required wants it"
    )
    assert not flume.running
    with pytest.raises(testing.ActionFailed, match="does not run yet"):
        context.run(context.on.action("smoke-test"), required)
    context.run(context.on.relation_changed(secured), replace(required, relations={secured, sink}))
    assert flume.running
    context.run(context.on.update_status(), required)
    assert flume.configured[0].ca == "PEM\n", "what runs over TLS goes on"


def test_a_secret_that_is_not_granted_yet(context: Context, state: testing.State, flume: Any):
    out = context.run(context.on.update_status(), replace(state, secrets=set()))
    assert out.unit_status == ops.WaitingStatus("Waiting for RabbitMQ")
    assert not flume.running


def test_a_password_that_jms_cannot_carry(
    context: Context, state: testing.State, amqp: testing.Relation, sink: testing.Relation
):
    public = replace(amqp, remote_units_data={0: {"hostname": "10.0.0.9", "password": "a:b"}})
    out = context.run(context.on.relation_changed(public), replace(state, relations={public, sink}))
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert "colon" in out.unit_status.message


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"sources": 0}, "sources=0"),
        ({"event_dir": "../etc"}, "event_dir='../etc'"),
        ({"batch_size": 1001}, "batch_size=1001"),
        ({"batch_size": 50, "channel_transaction_capacity": 20}, "channel_transaction_capacity"),
        ({"channel_capacity": 500}, "channel_capacity"),
        ({"heap": 1}, "heap=1"),
        ({"broker_tls": "off"}, "broker_tls='off'"),
    ],
)
def test_a_bad_option_blocks_and_the_agent_runs_on(
    context: Context, state: testing.State, flume: Any, config: dict[str, str | int], names: str
):
    good = context.run(context.on.config_changed(), state)
    out = context.run(context.on.config_changed(), replace(good, config=config))
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert names in out.unit_status.message
    assert flume.running
    assert flume.starts == 1


def test_without_the_resource(context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch):
    def missing(*_: object) -> None:
        raise DistributionError("resource flume is missing; attach it")

    monkeypatch.setattr(charm.resources, "fetch", missing)
    out = context.run(context.on.config_changed(), state)
    assert out.unit_status == ops.BlockedStatus("resource flume is missing; attach it")


def test_stops_when_a_relation_goes(context: Context, state: testing.State, flume: Any, amqp: testing.Relation):
    running = context.run(context.on.config_changed(), state)
    context.run(context.on.relation_broken(running.get_relation(amqp.id)), running)
    assert not flume.running


def test_stops_with_the_unit(context: Context, state: testing.State, flume: Any):
    context.run(context.on.stop(), context.run(context.on.config_changed(), state))
    assert not flume.running


def test_a_stopped_agent_stays_stopped(context: Context, state: testing.State, flume: Any):
    running = context.run(context.on.config_changed(), state)
    context.run(context.on.action("stop-flume"), running)
    out = context.run(context.on.config_changed(), replace(running, config={"heap": 600}))
    assert not flume.running
    assert out.unit_status == ops.BlockedStatus("Stopped by an action; run start-flume to go on")
    context.run(context.on.action("start-flume"), running)
    assert flume.running


def test_an_agent_that_died(context: Context, state: testing.State, flume: Any):
    running = context.run(context.on.config_changed(), state)
    flume.running = False
    out = context.run(context.on.update_status(), running)
    assert out.unit_status == ops.BlockedStatus("Flume does not run: see journalctl -u flume-rabbitmq-0")


def test_restart_flume(context: Context, state: testing.State, flume: Any):
    running = context.run(context.on.config_changed(), state)
    context.run(context.on.action("restart-flume"), running)
    assert flume.starts == 2


@pytest.mark.parametrize("action", ["start-flume", "stop-flume", "restart-flume", "smoke-test"])
def test_actions_before_there_is_an_agent(context: Context, resource: testing.Resource, action: str):
    with pytest.raises(testing.ActionFailed, match=r"not|yet"):
        context.run(context.on.action(action), testing.State(resources={resource}))


def test_smoke_test(context: Context, state: testing.State, flume: Any):
    context.run(context.on.action("smoke-test"), state)
    assert context.action_results == {
        "outcome": "2 sources drain iot.telemetry to flume-hdfs/0",
        "queued-before": 7,
        "queued-after": 0,
    }
    flume.broken = "1 of 2 sources are connected to RabbitMQ"
    with pytest.raises(testing.ActionFailed, match="1 of 2 sources"):
        context.run(context.on.action("smoke-test"), state)
