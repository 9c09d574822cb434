import dataclasses
import json
from pathlib import Path

import pytest
from ops import testing

import worker
from charm import WorkerCharm
from iot_charm.errors import DistributionError

Context = testing.Context[WorkerCharm]


def related(state: testing.State, *relations: testing.Relation) -> testing.State:
    return dataclasses.replace(state, relations=relations)


def published(state: testing.State, relation: testing.Relation) -> dict[str, object]:
    return {
        key: json.loads(value)
        for key, value in state.get_relation(relation.id).local_unit_data.items()
        if not key.endswith("-address") and key != "egress-subnets"
    }


def test_alone_it_installs_and_wants_a_namenode(daemons, context: Context, alone):
    state = context.run(context.on.install(), alone)
    assert daemons.archive is not None
    assert daemons.datanode is None
    assert state.workload_version == "3.5.0"
    assert state.opened_ports == set()
    assert state.unit_status == testing.BlockedStatus("Missing required namenode relation")


def test_a_namenode_that_is_not_ready_is_waited_for(daemons, context: Context, alone):
    relation = testing.Relation("namenode", remote_app_name="hadoop-namenode")
    state = context.run(context.on.start(), related(alone, relation))
    assert daemons.datanode is None
    assert state.unit_status == testing.WaitingStatus("Waiting for HDFS")


def test_with_a_namenode_alone_it_serves_hdfs(daemons, context: Context, alone, namenode):
    state = context.run(context.on.relation_changed(namenode), related(alone, namenode))
    settings, file_system = daemons.datanode
    assert settings.address == "192.0.2.0"
    assert file_system == worker.FileSystem("10.0.0.1", 8020, 1, 134217728, "CID-1")
    assert published(state, namenode) == {"host": "192.0.2.0"}
    assert state.opened_ports == {testing.TCPPort(port) for port in worker.DATANODE_PORTS}
    assert state.unit_status == testing.ActiveStatus("Ready (datanode)")


def test_with_both_masters_it_serves_both(daemons, context: Context, alone, namenode, resourcemanager):
    state = dataclasses.replace(
        related(alone, namenode, resourcemanager), config={"nodemanager_memory": 2048, "nodemanager_vcores": 2}
    )
    state = context.run(context.on.relation_changed(resourcemanager), state)
    settings, _, master = daemons.nodemanager
    assert (settings.memory_mb, settings.vcores) == (2048, 2)
    assert (master.host, master.tracker_port) == ("10.0.0.2", 8031)
    assert published(state, resourcemanager) == {"host": "192.0.2.0", "memory_mb": 2048, "vcores": 2}
    assert {port.port for port in state.opened_ports} == {*worker.DATANODE_PORTS, *worker.NODEMANAGER_PORTS}
    assert state.unit_status == testing.ActiveStatus("Ready (datanode and nodemanager)")


def test_nodemanager_needs_hdfs_for_its_logs(daemons, context: Context, alone, resourcemanager):
    state = context.run(context.on.relation_changed(resourcemanager), related(alone, resourcemanager))
    assert daemons.nodemanager is None
    assert published(state, resourcemanager) == {}
    assert state.unit_status == testing.BlockedStatus("Missing required namenode relation")


def test_yarn_that_is_not_ready_is_waited_for(daemons, context: Context, alone, namenode):
    relation = testing.Relation("resourcemanager", remote_app_name="hadoop-resourcemanager")
    state = context.run(context.on.update_status(), related(alone, namenode, relation))
    assert daemons.datanode is not None
    assert state.unit_status == testing.WaitingStatus("Waiting for YARN")


def test_a_daemon_that_has_not_registered_is_not_promised(daemons, context: Context, alone, namenode, resourcemanager):
    daemons.registers = set()
    both = related(alone, namenode, resourcemanager)
    state = context.run(context.on.update_status(), both)
    assert published(state, namenode) == published(state, resourcemanager) == {}
    assert state.unit_status == testing.WaitingStatus("Waiting for the DataNode to register with the NameNode")
    daemons.registers = {"datanode"}
    state = context.run(context.on.update_status(), state)
    assert published(state, namenode) == {"host": "192.0.2.0"}
    assert state.unit_status == testing.WaitingStatus(
        "Waiting for the NodeManager to register with the ResourceManager"
    )
    daemons.registers = {"datanode", "nodemanager"}
    state = context.run(context.on.update_status(), state)
    assert state.unit_status == testing.ActiveStatus("Ready (datanode and nodemanager)")


def test_without_a_master_its_daemon_stops(daemons, context: Context, alone, namenode, resourcemanager):
    state = context.run(context.on.update_status(), related(alone, namenode, resourcemanager))
    state = context.run(context.on.relation_broken(state.get_relation(resourcemanager.id)), state)
    assert daemons.nodemanager is None
    assert daemons.datanode is not None
    state = context.run(context.on.update_status(), related(state, state.get_relation(namenode.id)))
    assert state.unit_status == testing.ActiveStatus("Ready (datanode)")
    context.run(context.on.relation_broken(state.get_relation(namenode.id)), state)
    assert daemons.datanode is None


def test_without_hdfs_the_nodemanager_stops_too(daemons, context: Context, alone, namenode, resourcemanager):
    state = context.run(context.on.update_status(), related(alone, namenode, resourcemanager))
    context.run(context.on.relation_broken(state.get_relation(namenode.id)), state)
    assert daemons.nodemanager is None


@pytest.mark.parametrize(
    ("option", "value"),
    [("nodemanager_memory", 100), ("nodemanager_vcores", 0), ("datanode_heap", 1), ("datanode_reserved", -1)],
)
def test_a_bad_option_blocks_and_changes_nothing(daemons, context: Context, alone, namenode, option, value):
    state = context.run(context.on.update_status(), related(alone, namenode))
    before = daemons.datanode
    state = context.run(context.on.config_changed(), dataclasses.replace(state, config={option: value}))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert state.unit_status.message.startswith(f"{option}={value}: ")
    assert daemons.datanode == before


def test_a_malformed_namenode_blocks(daemons, context: Context, alone, namenode):
    bad = dataclasses.replace(
        namenode, remote_units_data={0: {**namenode.remote_units_data[0], "cluster_id": '"../../etc"'}}
    )
    state = context.run(context.on.update_status(), related(alone, bad))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "cluster_id='../../etc'" in state.unit_status.message
    assert daemons.datanode is None


def test_a_bad_archive_blocks(daemons, context: Context, alone, monkeypatch):
    def refuse(_: Path) -> bool:
        raise DistributionError("resource file hadoop.tar.gz is empty")

    monkeypatch.setattr(daemons, "install", refuse)
    state = context.run(context.on.install(), alone)
    assert state.unit_status == testing.BlockedStatus("resource file hadoop.tar.gz is empty")
    assert daemons.datanode is None


def test_smoke_test(daemons, context: Context, alone, namenode, resourcemanager):
    state = context.run(context.on.update_status(), related(alone, namenode, resourcemanager))
    context.run(context.on.action("smoke-test"), state)
    assert context.action_results == {"outcome": "DataNode registered, NodeManager registered"}
    daemons.registers = {"datanode"}
    with pytest.raises(testing.ActionFailed, match="NodeManager does not take part"):
        context.run(context.on.action("smoke-test"), state)
    daemons.registers = set()
    with pytest.raises(testing.ActionFailed, match="DataNode does not take part"):
        context.run(context.on.action("smoke-test"), state)
    with pytest.raises(testing.ActionFailed, match="datanode_heap=1"):
        context.run(context.on.action("smoke-test"), dataclasses.replace(state, config={"datanode_heap": 1}))


def test_stop_stops_both(daemons, context: Context, alone, namenode, resourcemanager):
    state = context.run(context.on.update_status(), related(alone, namenode, resourcemanager))
    context.run(context.on.stop(), state)
    assert daemons.datanode is daemons.nodemanager is None
