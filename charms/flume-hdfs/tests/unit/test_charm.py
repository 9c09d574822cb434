"""What the charm makes of its options and relations."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ops
import pytest
from ops import testing

import charm
from iot_charm.errors import DistributionError

Data = Callable[..., dict[str, str]]
Sender = Callable[..., testing.Relation]
Context = testing.Context[charm.FlumeHdfsCharm]


def test_installs_and_says_what_is_missing(context: Context, flume: Any, resource: testing.Resource):
    out = context.run(context.on.install(), testing.State(resources={resource}))
    assert flume.installed == resource.path
    assert out.workload_version == "1.11.0"
    assert out.unit_status == ops.BlockedStatus("Missing required namenode relation")


@pytest.mark.parametrize("changes", [None, {"datanodes": "0"}, {"users": "[]"}], ids=["silent", "no node", "no home"])
def test_waits_for_hdfs(
    context: Context,
    state: testing.State,
    namenode: testing.Relation,
    namenode_data: Data,
    flume: Any,
    changes: dict[str, str] | None,
):
    relation = replace(namenode, remote_units_data={0: {} if changes is None else namenode_data(**changes)})
    out = context.run(context.on.relation_changed(relation), replace(state, relations={relation}))
    assert out.get_relation(relation.id).local_unit_data["user"] == '"flume"'
    assert out.unit_status == ops.WaitingStatus("Waiting for HDFS")
    assert not flume.running


def test_runs_the_agent_and_says_where_it_listens(
    context: Context, state: testing.State, flume: Any, source: testing.Relation
):
    out = context.run(context.on.config_changed(), state)
    assert flume.configured
    agent, settings = flume.configured
    assert agent.hdfs_uri == "hdfs://10.0.0.4:8020"
    assert (agent.unit, agent.batch_encoding, agent.roll_interval) == ("flume-hdfs-0", "gzip", 300)
    assert (agent.roll_size, agent.source_port) == (10_000_000, 4141)
    assert settings["open_for_s"] == 1500
    told = out.get_relation(source.id).local_unit_data
    assert (told["port"], told["protocol"]) == ("4141", '"avro"')
    assert out.opened_ports == {testing.TCPPort(4141)}
    assert out.unit_status == ops.ActiveStatus("Ready (flume-rabbitmq/0)")


@pytest.mark.parametrize(("datanodes", "wanted", "copies"), [(1, 3, 1), (2, 3, 2), (5, 3, 3), (5, 1, 1)])
def test_replication_is_bounded_by_the_datanodes(
    context: Context,
    state: testing.State,
    namenode: testing.Relation,
    namenode_data: Data,
    flume: Any,
    datanodes: int,
    wanted: int,
    copies: int,
):
    relation = replace(namenode, remote_units_data={0: namenode_data(datanodes=str(datanodes))})
    context.run(context.on.config_changed(), replace(state, relations={relation}, config={"dfs_replication": wanted}))
    assert flume.configured
    assert flume.configured[1]["replication"] == copies


def test_a_second_event_changes_nothing(context: Context, state: testing.State, flume: Any):
    context.run(context.on.update_status(), context.run(context.on.config_changed(), state))
    assert flume.starts == 1


def test_senders_hear_nothing_before_the_source_listens(
    context: Context, state: testing.State, flume: Any, source: testing.Relation
):
    flume.deaf = True
    out = context.run(context.on.config_changed(), state)
    assert "port" not in out.get_relation(source.id).local_unit_data
    assert out.unit_status == ops.BlockedStatus("Flume does not listen: see journalctl -u flume-hdfs-0")


def test_without_a_sender_it_is_ready_all_the_same(context: Context, state: testing.State, namenode: testing.Relation):
    out = context.run(context.on.config_changed(), replace(state, relations={namenode}))
    assert out.unit_status == ops.ActiveStatus("Ready (no sender yet)")


def test_senders_that_disagree_block_by_name_and_the_agent_runs_on(
    context: Context, state: testing.State, sender: Sender, flume: Any
):
    good = context.run(context.on.config_changed(), state)
    other = sender("flume-other", "identity", "other")
    out = context.run(context.on.relation_changed(other), replace(good, relations={*good.relations, other}))
    assert out.unit_status == ops.BlockedStatus(
        "Senders differ in batch_encoding: flume-rabbitmq/0 (gzip) and flume-other/0 (identity); "
        "set one batch_encoding for both chains"
    )
    assert flume.starts == 1


def test_two_senders_that_agree(context: Context, state: testing.State, sender: Sender):
    out = context.run(context.on.config_changed(), replace(state, relations={*state.relations, sender("flume-b")}))
    assert out.unit_status == ops.ActiveStatus("Ready (flume-rabbitmq/0, flume-b/0)")


def test_compressing_gzip_again_blocks(context: Context, state: testing.State, flume: Any):
    out = context.run(context.on.config_changed(), replace(state, config={"sink_compression": "snappy"}))
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert "sink_compression='snappy'" in out.unit_status.message
    assert not flume.running


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"roll_interval": -1}, "roll_interval=-1"),
        ({"roll_size": "abc"}, "roll_size='abc'"),
        ({"roll_size": "-5"}, "roll_size='-5'"),
        ({"sink_compression": "lzo"}, "sink_compression='lzo'"),
        ({"sink_serializer": "json"}, "sink_serializer='json'"),
        ({"sink_serializer": "avro_event", "sink_compression": "gzip"}, "sink_serializer"),
        ({"protocol": "thrift"}, "protocol='thrift'"),
        ({"source_port": 80}, "source_port=80"),
        ({"channel_transaction_capacity": 100}, "channel_transaction_capacity=100"),
        ({"channel_transaction_capacity": 20000}, "channel_capacity"),
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


def test_files_without_an_age_limit_may_be_open_for_a_day(context: Context, state: testing.State, flume: Any):
    context.run(context.on.config_changed(), replace(state, config={"roll_interval": 0}))
    assert flume.configured
    assert flume.configured[1]["open_for_s"] == 86400


def test_without_the_resource(context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch):
    def missing(*_: object) -> None:
        raise DistributionError("resource flume is missing; attach it")

    monkeypatch.setattr(charm.resources, "fetch", missing)
    out = context.run(context.on.config_changed(), state)
    assert out.unit_status == ops.BlockedStatus("resource flume is missing; attach it")


def test_stops_with_hdfs_and_with_the_unit(
    context: Context, state: testing.State, flume: Any, namenode: testing.Relation
):
    running = context.run(context.on.config_changed(), state)
    out = context.run(context.on.relation_broken(running.get_relation(namenode.id)), running)
    assert not flume.running
    assert out.opened_ports == set()
    context.run(context.on.config_changed(), state)
    context.run(context.on.stop(), state)
    assert not flume.running


def test_a_stopped_agent_stays_stopped(context: Context, state: testing.State, flume: Any):
    running = context.run(context.on.config_changed(), state)
    context.run(context.on.action("stop-flume"), running)
    out = context.run(context.on.config_changed(), replace(running, config={"heap": 600}))
    assert not flume.running
    assert out.unit_status == ops.BlockedStatus("Stopped by an action; run start-flume to go on")
    context.run(context.on.action("start-flume"), running)
    assert context.action_results == {"outcome": "flume-hdfs-0 is started and listens on port 4141"}
    assert flume.running


def test_an_agent_that_does_not_come_back(context: Context, state: testing.State, flume: Any):
    running = context.run(context.on.config_changed(), state)
    flume.deaf = True
    with pytest.raises(testing.ActionFailed, match="does not listen on port 4141"):
        context.run(context.on.action("restart-flume"), running)


@pytest.mark.parametrize("action", ["start-flume", "stop-flume", "restart-flume", "smoke-test", "verify-ingestion"])
def test_actions_before_there_is_an_agent(context: Context, resource: testing.Resource, action: str):
    with pytest.raises(testing.ActionFailed, match="yet"):
        context.run(context.on.action(action), testing.State(resources={resource}))


def test_smoke_test(context: Context, state: testing.State, flume: Any):
    context.run(context.on.action("smoke-test"), state)
    assert context.action_results == {"outcome": "an event went through the agent into HDFS", "seconds": 1.2}
    flume.broken = "the agent does not run"
    with pytest.raises(testing.ActionFailed, match="does not run"):
        context.run(context.on.action("smoke-test"), state)
