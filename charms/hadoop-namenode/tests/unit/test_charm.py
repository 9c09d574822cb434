import dataclasses
import json
from pathlib import Path

import pytest
from ops import testing

from charm import NameNodeCharm
from iot_charm.errors import DistributionError
from namenode import Report

Context = testing.Context[NameNodeCharm]


def workers(*hosts: str) -> testing.Relation:
    """Workers whose DataNodes have registered, if they have a host."""
    return testing.Relation(
        "datanode",
        remote_app_name="hadoop-worker",
        remote_units_data={number: {"host": json.dumps(host)} if host else {} for number, host in enumerate(hosts)},
    )


def client(user: str) -> testing.Relation:
    return testing.Relation("namenode", remote_app_name=user, remote_units_data={0: {"user": json.dumps(user)}})


def related(state: testing.State, *relations: testing.Relation) -> testing.State:
    return dataclasses.replace(state, relations=relations)


def published(state: testing.State, relation: testing.Relation) -> dict[str, object]:
    return {
        key: json.loads(value)
        for key, value in state.get_relation(relation.id).local_unit_data.items()
        if not key.endswith("-address") and key != "egress-subnets"
    }


def live(datanodes: int, *, safe_mode: bool = False) -> Report:
    return Report(datanodes=datanodes, safe_mode=safe_mode, cluster_id="CID-1")


def test_alone_it_runs_and_wants_workers(hdfs, context: Context, alone: testing.State):
    state = context.run(context.on.install(), alone)
    assert hdfs.settings is not None
    assert (hdfs.settings.replication, hdfs.settings.block_size, hdfs.settings.heap_mb) == (3, 134217728, 256)
    assert state.opened_ports == {testing.TCPPort(8020), testing.TCPPort(9870)}
    assert state.workload_version == "3.5.0"
    assert state.unit_status == testing.BlockedStatus("Missing required datanode relation")


def test_workers_learn_of_it_before_it_has_any(hdfs, context: Context, alone: testing.State):
    relation, flume = workers(""), client("flume")
    state = context.run(context.on.relation_created(relation), related(alone, relation, flume))
    assert published(state, relation) == {
        "host": "192.0.2.0",
        "port": 8020,
        "replication": 1,
        "block_size": 134217728,
        "cluster_id": "CID-1",
    }
    assert published(state, flume) == {}
    assert state.unit_status == testing.WaitingStatus("Waiting for DataNodes")


def test_clients_get_a_file_system_with_their_homes(hdfs, context: Context, alone: testing.State):
    hdfs.found = live(2)
    relation, flume, spark = workers("10.0.0.1", "10.0.0.2"), client("flume"), client("spark")
    state = context.run(context.on.relation_changed(relation), related(alone, relation, flume, spark))
    assert list(hdfs.homes) == ["flume", "spark"]
    assert published(state, flume) == published(state, spark)
    assert published(state, flume) == {
        "host": "192.0.2.0",
        "port": 8020,
        "web_port": 9870,
        "datanodes": 2,
        "replication": 2,
        "block_size": 134217728,
        "users": ["flume", "spark"],
    }
    assert state.unit_status == testing.ActiveStatus("Ready (2 datanodes)")


@pytest.mark.parametrize(("option", "count", "copies"), [(3, 5, 3), (3, 2, 2), (2, 3, 2), (1, 3, 1)])
def test_copies_are_bounded_by_option_and_workers(
    hdfs, context: Context, alone: testing.State, option: int, count: int, copies: int
):
    hdfs.found = live(count)
    relation = workers(*(f"10.0.0.{number}" for number in range(count)))
    state = dataclasses.replace(related(alone, relation), config={"dfs_replication": option})
    assert published(context.run(context.on.config_changed(), state), relation)["replication"] == copies


def test_more_workers_do_not_restart_it(hdfs, context: Context, alone: testing.State):
    first = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    relation = workers("10.0.0.1", "10.0.0.2")
    context.run(context.on.relation_changed(relation), related(first, relation))
    assert hdfs.starts == 1


def test_a_worker_that_leaves_is_not_counted(hdfs, context: Context, alone: testing.State):
    hdfs.found = live(2)
    relation, flume = workers("10.0.0.1", "10.0.0.2"), client("flume")
    state = context.run(
        context.on.relation_departed(relation, remote_unit=1, departing_unit=1), related(alone, relation, flume)
    )
    hdfs.found = live(1)
    left = dataclasses.replace(state.get_relation(relation.id), remote_units_data={0: relation.remote_units_data[0]})
    state = context.run(context.on.update_status(), related(state, left, state.get_relation(flume.id)))
    assert published(state, flume)["replication"] == 1
    assert published(state, flume)["datanodes"] == 1
    assert state.unit_status == testing.ActiveStatus("Ready (1 datanode)")


def test_in_safe_mode_nothing_is_promised(hdfs, context: Context, alone: testing.State):
    hdfs.found = live(1, safe_mode=True)
    relation, flume = workers("10.0.0.1"), client("flume")
    state = context.run(context.on.relation_changed(flume), related(alone, relation, flume))
    assert published(state, flume) == {}
    assert state.unit_status == testing.WaitingStatus("Waiting for HDFS to leave safe mode")


def test_a_namenode_that_does_not_answer(hdfs, context: Context, alone: testing.State):
    hdfs.answers = False
    relation = workers("10.0.0.1")
    state = context.run(context.on.relation_changed(relation), related(alone, relation))
    assert published(state, relation) == {}
    assert state.unit_status == testing.WaitingStatus("Waiting for the NameNode to answer")


@pytest.mark.parametrize(
    ("option", "value"),
    [("dfs_replication", 0), ("dfs_blocksize", 1000), ("dfs_blocksize", (1 << 20) + 1), ("namenode_heap", 1)],
)
def test_a_bad_option_blocks_and_changes_nothing(hdfs, context: Context, alone: testing.State, option: str, value: int):
    state = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    before = hdfs.settings
    state = context.run(context.on.config_changed(), dataclasses.replace(state, config={option: value}))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert state.unit_status.message.startswith(f"{option}={value}: ")
    assert (hdfs.settings, hdfs.starts) == (before, 1)


def test_a_malformed_user_blocks(hdfs, context: Context, alone: testing.State):
    hdfs.found = live(1)
    state = context.run(context.on.update_status(), related(alone, workers("10.0.0.1"), client("Not A User")))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "user='Not A User'" in state.unit_status.message
    assert hdfs.homes == {}


def test_a_bad_archive_blocks(hdfs, context: Context, alone: testing.State, monkeypatch):
    def refuse(_: Path) -> bool:
        raise DistributionError("resource file hadoop.tar.gz is empty")

    monkeypatch.setattr(hdfs, "install", refuse)
    hdfs.answers = False
    state = context.run(context.on.install(), related(alone, workers("")))
    assert state.unit_status == testing.BlockedStatus("resource file hadoop.tar.gz is empty")
    assert hdfs.starts == 0


def test_stop_lasts_until_start(hdfs, context: Context, alone: testing.State):
    hdfs.found = live(1)
    state = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    state = context.run(context.on.action("stop-hdfs"), state)
    assert state.unit_status == testing.BlockedStatus("HDFS is stopped; action start-hdfs starts it")
    state = context.run(context.on.update_status(), state)
    assert hdfs.starts == 1
    state = context.run(context.on.action("start-hdfs"), state)
    assert hdfs.starts == 2
    assert context.action_results == {"datanodes": 1, "safe-mode": "off"}
    assert state.unit_status == testing.ActiveStatus("Ready (1 datanode)")


def test_restart(hdfs, context: Context, alone: testing.State):
    state = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    context.run(context.on.action("restart-hdfs"), state)
    assert hdfs.starts == 2
    hdfs.answers = False
    with pytest.raises(testing.ActionFailed, match="journalctl -u hadoop-namenode"):
        context.run(context.on.action("restart-hdfs"), state)
    with pytest.raises(testing.ActionFailed, match="namenode_heap=1"):
        context.run(context.on.action("restart-hdfs"), dataclasses.replace(state, config={"namenode_heap": 1}))


def test_smoke_test(hdfs, context: Context, alone: testing.State):
    state = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    context.run(context.on.action("smoke-test"), state)
    assert context.action_results == {"outcome": "wrote, read back and deleted 1 MiB", "seconds": "0.25"}
    hdfs.smoke_error = "no DataNode"
    with pytest.raises(testing.ActionFailed, match="no DataNode"):
        context.run(context.on.action("smoke-test"), state)


def test_backup(hdfs, context: Context, alone: testing.State, tmp_path: Path):
    state = context.run(context.on.install(), related(alone, workers("10.0.0.1")))
    context.run(context.on.action("backup-hdfs", params={"path": str(tmp_path / "b")}), state)
    assert context.action_results == {"path": str(tmp_path / "b"), "bytes": 5}
    with pytest.raises(testing.ActionFailed, match="absolute path"):
        context.run(context.on.action("backup-hdfs", params={"path": "b"}), state)
    hdfs.answers = False
    with pytest.raises(testing.ActionFailed, match="does not answer"):
        context.run(context.on.action("backup-hdfs", params={"path": str(tmp_path / "c")}), state)


def test_remove_takes_the_service_away(hdfs, context: Context, alone: testing.State):
    state = context.run(context.on.install(), alone)
    context.run(context.on.remove(), state)
    assert not hdfs.installed


def test_a_second_unit_is_one_too_many_and_the_first_goes_on(hdfs, context: Context, alone: testing.State):
    two = dataclasses.replace(related(alone, workers("10.0.0.1")), planned_units=2)
    state = context.run(context.on.install(), two)
    assert hdfs.starts == 0
    assert state.unit_status == testing.BlockedStatus("HDFS has one NameNode; scale hadoop-namenode to 1 unit")
    hdfs.found = live(1)
    state = context.run(context.on.update_status(), dataclasses.replace(state, planned_units=1))
    assert hdfs.starts == 1
    state = context.run(context.on.update_status(), dataclasses.replace(state, planned_units=2))
    assert state.unit_status == testing.ActiveStatus("Ready (1 datanode)")
