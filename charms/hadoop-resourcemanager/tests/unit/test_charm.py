import dataclasses
import json
from pathlib import Path

import pytest
from ops import testing

import resourcemanager
from charm import ResourceManagerCharm
from iot_charm.errors import DistributionError

Context = testing.Context[ResourceManagerCharm]

YARN = {"host": "192.0.2.0", "port": 8032, "scheduler_port": 8030, "tracker_port": 8031, "web_port": 8088}


def related(state: testing.State, *relations: testing.Relation) -> testing.State:
    return dataclasses.replace(state, relations=relations)


def published(state: testing.State, relation: testing.Relation) -> dict[str, object]:
    return {
        key: json.loads(value)
        for key, value in state.get_relation(relation.id).local_unit_data.items()
        if not key.endswith("-address") and key != "egress-subnets"
    }


def test_alone_it_runs_and_wants_hdfs(yarn, context: Context, alone):
    state = context.run(context.on.install(), alone)
    assert yarn.running == ("192.0.2.0", None, 256)
    assert yarn.history is None
    assert {port.port for port in state.opened_ports} == set(resourcemanager.PORTS)
    assert state.workload_version == "3.5.0"
    assert isinstance(state.unit_status, testing.BlockedStatus)


def test_it_says_which_relation_is_missing(yarn, context: Context, alone, namenode, worker):
    state = context.run(context.on.install(), related(alone, worker))
    assert state.unit_status == testing.BlockedStatus("Missing required namenode relation")
    state = context.run(context.on.install(), related(alone, namenode))
    assert state.unit_status == testing.BlockedStatus("Missing required nodemanager relation")


def test_it_asks_hdfs_for_a_home_and_waits(yarn, context: Context, alone, worker):
    relation = testing.Relation("namenode", remote_app_name="hadoop-namenode")
    state = context.run(context.on.relation_created(relation), related(alone, relation, worker))
    assert published(state, relation) == {"user": "mapred"}
    assert yarn.history is None
    assert state.unit_status == testing.WaitingStatus("Waiting for HDFS")


def test_job_history_waits_for_its_home(yarn, context: Context, alone, namenode, worker):
    homeless = dataclasses.replace(
        namenode, remote_units_data={0: {**namenode.remote_units_data[0], "users": '["spark"]'}}
    )
    state = context.run(context.on.relation_changed(homeless), related(alone, homeless, worker))
    assert yarn.history is None
    state = context.run(context.on.relation_changed(namenode), related(state, namenode, worker))
    file_system = resourcemanager.FileSystem("10.0.0.1", 8020, 1, 134217728)
    assert yarn.history == ("192.0.2.0", file_system, 192)
    assert yarn.running == ("192.0.2.0", file_system, 256)


def test_workers_and_clients_learn_where_it_is(yarn, context: Context, alone, namenode, worker):
    yarn.workers = 1
    client = testing.Relation("resourcemanager", remote_app_name="spark")
    state = context.run(context.on.relation_changed(worker), related(alone, namenode, worker, client))
    assert published(state, worker) == YARN
    assert published(state, client) == {
        **YARN,
        "history_port": 10020,
        "history_web_port": 19888,
        "nodemanagers": 1,
    }
    assert state.unit_status == testing.ActiveStatus("Ready (1 nodemanager)")


def test_status_follows_the_workers(yarn, context: Context, alone, namenode, worker):
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    assert state.unit_status == testing.WaitingStatus("Waiting for NodeManagers")
    yarn.workers = 3
    state = context.run(context.on.update_status(), state)
    assert state.unit_status == testing.ActiveStatus("Ready (3 nodemanagers)")


def test_nothing_is_promised_before_it_answers(yarn, context: Context, alone, namenode, worker):
    yarn.answers = False
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    assert published(state, worker) == {}
    assert isinstance(state.unit_status, testing.WaitingStatus)


def test_without_hdfs_job_history_stops(yarn, context: Context, alone, namenode, worker):
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    assert yarn.history is not None
    context.run(context.on.relation_broken(state.get_relation(namenode.id)), state)
    assert yarn.history is None
    assert yarn.running is not None


@pytest.mark.parametrize("option", ["resourcemanager_heap", "historyserver_heap"])
def test_a_bad_option_blocks_and_changes_nothing(yarn, context: Context, alone, option):
    state = context.run(context.on.install(), alone)
    before = yarn.running
    state = context.run(context.on.config_changed(), dataclasses.replace(state, config={option: 1}))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert state.unit_status.message.startswith(f"{option}=1: ")
    assert yarn.running == before


def test_a_bad_archive_blocks(yarn, context: Context, alone, namenode, worker, monkeypatch):
    def refuse(_: Path) -> bool:
        raise DistributionError("resource file hadoop.tar.gz is empty")

    monkeypatch.setattr(yarn, "install", refuse)
    state = context.run(context.on.install(), related(alone, namenode, worker))
    assert state.unit_status == testing.BlockedStatus("resource file hadoop.tar.gz is empty")
    assert yarn.running is None


def test_jobs_prove_it(yarn, context: Context, alone, namenode, worker):
    yarn.workers = 1
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    context.run(context.on.action("smoke-test"), state)
    assert context.action_results == {"outcome": "a MapReduce job of one map and one reduce", "seconds": "12.3"}
    context.run(context.on.action("testdfsio", params={"mode": "write", "files": 2, "size": 8}), state)
    assert context.action_results == {"throughput": "16", "seconds": "1"}
    assert context.action_logs == ["write: 2 files of 8 MB, one map task each"]


@pytest.mark.parametrize("action", ["smoke-test", "testdfsio"])
def test_jobs_fail_with_a_reason(yarn, context: Context, alone, namenode, worker, action):
    yarn.workers = 1
    params = {"mode": "read", "files": 1, "size": 1} if action == "testdfsio" else {}
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    yarn.job_error = "SleepJob: no space"
    with pytest.raises(testing.ActionFailed, match="SleepJob: no space"):
        context.run(context.on.action(action, params=params), state)
    yarn.workers = 0
    with pytest.raises(testing.ActionFailed, match="none is running"):
        context.run(context.on.action(action, params=params), state)
    with pytest.raises(testing.ActionFailed, match="needs HDFS"):
        context.run(context.on.action(action, params=params), related(state, state.get_relation(worker.id)))
    with pytest.raises(testing.ActionFailed, match="historyserver_heap=1"):
        context.run(
            context.on.action(action, params=params), dataclasses.replace(state, config={"historyserver_heap": 1})
        )


def test_remove_stops_both(yarn, context: Context, alone, namenode, worker):
    state = context.run(context.on.update_status(), related(alone, namenode, worker))
    context.run(context.on.remove(), state)
    assert yarn.running is yarn.history is None


def test_a_second_unit_is_one_too_many_and_the_first_goes_on(yarn, context: Context, alone, namenode, worker):
    yarn.workers = 1
    two = dataclasses.replace(related(alone, namenode, worker), planned_units=2)
    state = context.run(context.on.install(), two)
    assert yarn.running is None
    assert state.unit_status == testing.BlockedStatus(
        "YARN has one ResourceManager; scale hadoop-resourcemanager to 1 unit"
    )
    state = context.run(context.on.update_status(), dataclasses.replace(state, planned_units=1))
    state = context.run(context.on.update_status(), dataclasses.replace(state, planned_units=2))
    assert state.unit_status == testing.ActiveStatus("Ready (1 nodemanager)")
