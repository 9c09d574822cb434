import dataclasses
import json
from datetime import UTC, datetime

import pytest
from ops import testing

from history import Job
from iot_charm.errors import DistributionError
from submit import Run, SubmitError

CLIENT = testing.Relation("client", remote_app_name="zeppelin")


@pytest.fixture
def alone(resource):
    return testing.State(leader=True, resources=[resource])


@pytest.fixture
def related(alone, hdfs, yarn):
    return dataclasses.replace(alone, relations=[hdfs, yarn, CLIENT])


@pytest.fixture
def ready(context, machine, related):
    return context.run(context.on.config_changed(), related)


def configured(state, **config):
    return dataclasses.replace(state, config=config)


def published(state, relation):
    data = state.get_relation(relation.id).local_unit_data
    return {key: json.loads(value) for key, value in data.items() if "-" not in key}


def test_alone_it_is_installed_and_wants_hdfs(context, machine, alone, resource):
    state = context.run(context.on.install(), alone)
    assert machine.archive == resource.path
    assert state.workload_version == "4.3.0"
    assert state.unit_status == testing.BlockedStatus("Missing required namenode relation")


def test_without_its_resource_it_says_how_to_attach_it(context, machine, related, monkeypatch):
    def missing(*_args):
        raise DistributionError("resource spark is missing; attach it")

    monkeypatch.setattr("iot_charm.resources.fetch", missing)
    state = context.run(context.on.install(), related)
    assert state.unit_status == testing.BlockedStatus("resource spark is missing; attach it")
    assert machine.settings is None
    with pytest.raises(testing.ActionFailed, match="attach it"):
        context.run(context.on.action("start-spark-job-history-server"), related)


def test_it_asks_for_a_home_in_hdfs(context, machine, alone, hdfs):
    state = context.run(context.on.relation_created(hdfs), dataclasses.replace(alone, relations=[hdfs]))
    assert published(state, hdfs) == {"user": "spark"}
    assert state.unit_status.name == "blocked"
    assert "resourcemanager" in state.unit_status.message


def test_local_mode_needs_no_yarn(context, machine, alone, hdfs):
    local = configured(dataclasses.replace(alone, relations=[hdfs]), spark_execution_mode="local")
    state = context.run(context.on.config_changed(), local)
    assert state.unit_status == testing.ActiveStatus("Ready (local)")
    assert machine.settings.execution_mode == "local"


def test_ready_it_has_its_jars_in_hdfs_and_tells_its_clients(context, machine, related):
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.ActiveStatus("Ready (yarn-client)")
    assert state.opened_ports == {testing.TCPPort(18080)}
    archive = "hdfs://192.0.2.1:8020/user/spark/share/spark-4.3.0-0123456789ab-jars.zip"
    assert machine.shared == {archive}
    assert published(state, CLIENT) == {
        "version": "4.3.0",
        "execution_mode": "yarn-client",
        "archive": archive,
        "event_log_dir": "hdfs://192.0.2.1:8020/user/spark/applicationHistory",
        "history_url": "http://192.0.2.0:18080",
        "driver_memory": "1g",
        "executor_memory": "1g",
    }


def test_nothing_happens_twice(context, machine, ready):
    context.run(context.on.update_status(), ready)
    assert machine.history_starts == 1


@pytest.mark.parametrize(
    ("missing", "status"), [({"users": []}, "Waiting for HDFS"), ({"datanodes": 0}, "Waiting for HDFS")]
)
def test_it_waits_for_its_home_and_for_datanodes(context, machine, related, hdfs, yarn, missing, status):
    data = hdfs.remote_units_data[0] | {key: json.dumps(value) for key, value in missing.items()}
    not_yet = dataclasses.replace(hdfs, remote_units_data={0: data})
    state = context.run(
        context.on.relation_changed(not_yet), dataclasses.replace(related, relations=[not_yet, yarn, CLIENT])
    )
    assert state.unit_status == testing.WaitingStatus(status)
    assert published(state, CLIENT) == {}


def test_it_waits_for_yarn(context, machine, alone, hdfs):
    not_yet = testing.Relation("resourcemanager", remote_app_name="rm", remote_units_data={0: {}})
    state = context.run(context.on.config_changed(), dataclasses.replace(alone, relations=[hdfs, not_yet]))
    assert state.unit_status == testing.WaitingStatus("Waiting for YARN")


def test_a_unit_that_does_not_lead_waits_for_the_jars(context, machine, related):
    state = context.run(context.on.config_changed(), dataclasses.replace(related, leader=False))
    assert state.unit_status == testing.WaitingStatus("Waiting for Spark's jars in HDFS")
    assert machine.shared == set()


def test_hdfs_that_does_not_answer_is_waited_for(context, machine, related):
    machine.hdfs_down = True
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.WaitingStatus("Waiting for HDFS")
    assert published(state, CLIENT) == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"spark_execution_mode": "mesos"}, "'yarn-cluster'"),
        ({"driver_memory": "64m"}, "512m to 1024g"),
        ({"executor_memory": "101%"}, "1% to 100%"),
        ({"executor_memory": "lots"}, "executor_memory='lots'"),
        ({"executor_instances": 0}, "greater than or equal to 1"),
        ({"history_heap": 1}, "history_heap=1"),
    ],
)
def test_a_bad_option_blocks_and_changes_nothing(context, machine, ready, config, words):
    before = machine.settings
    state = context.run(context.on.config_changed(), configured(ready, **config))
    assert state.unit_status.name == "blocked"
    assert words in state.unit_status.message
    assert machine.settings == before
    assert machine.history_starts == 1


def test_a_relation_with_nonsense_blocks_with_its_name(context, machine, related, hdfs, yarn):
    data = hdfs.remote_units_data[0] | {"port": '"x"'}
    bad = dataclasses.replace(hdfs, remote_units_data={0: data})
    state = context.run(context.on.config_changed(), dataclasses.replace(related, relations=[bad, yarn]))
    assert "port='x'" in state.unit_status.message


def test_changed_memory_reaches_configuration_and_clients(context, machine, ready):
    state = context.run(context.on.config_changed(), configured(ready, executor_memory="2g"))
    assert machine.settings.executor_memory == "2g"
    assert published(state, CLIENT)["executor_memory"] == "2g"
    assert machine.history_starts == 2


def test_a_history_server_that_does_not_answer_is_waited_for(context, machine, related):
    machine.history_broken = True
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.WaitingStatus("Waiting for the history server to answer")


def test_the_history_server_stops_and_starts_by_actions(context, machine, ready):
    context.run(context.on.action("stop-spark-job-history-server"), ready)
    assert not machine.answers("")
    state = context.run(context.on.update_status(), ready)
    assert "history server stopped" in state.unit_status.message
    assert not machine.answers("")
    context.run(context.on.action("start-spark-job-history-server"), ready)
    assert machine.answers("")
    assert context.action_results == {"url": "http://192.0.2.0:18080"}
    starts = machine.history_starts
    context.run(context.on.action("restart-spark-job-history-server"), ready)
    assert machine.history_starts == starts + 1


def test_a_history_server_that_does_not_start_fails_the_action(context, machine, ready):
    machine.history_broken = True
    with pytest.raises(testing.ActionFailed, match="journalctl"):
        context.run(context.on.action("restart-spark-job-history-server"), ready)


@pytest.mark.parametrize("action", ["start-spark-job-history-server", "smoke-test", "sparkpi", "list-jobs"])
def test_actions_say_that_an_option_is_bad(context, machine, ready, action):
    with pytest.raises(testing.ActionFailed, match="driver_memory"):
        context.run(context.on.action(action), configured(ready, driver_memory="x"))


@pytest.mark.parametrize(
    ("action", "params"), [("smoke-test", {}), ("sparkpi", {}), ("spark-submit", {"job": "hdfs:///x.py"})]
)
def test_actions_that_need_yarn_say_so(context, machine, alone, hdfs, action, params):
    with pytest.raises(testing.ActionFailed, match="Missing required resourcemanager relation"):
        context.run(context.on.action(action, params), dataclasses.replace(alone, relations=[hdfs]))


def test_smoke_test_runs_a_job(context, machine, ready):
    context.run(context.on.action("smoke-test"), ready)
    assert machine.submitted == [["pi 2"]]
    assert context.action_results["application-id"] == "application_1_1"
    assert context.action_results["history-server"] == "answers"
    assert "application_1_1 is RUNNING" in context.action_logs


def test_smoke_test_checks_the_result(context, machine, ready):
    machine.pi_value = 2.7
    with pytest.raises(testing.ActionFailed, match=r"2\.7"):
        context.run(context.on.action("smoke-test"), ready)


def test_smoke_test_checks_the_history_server(context, machine, ready):
    machine.history_broken = True
    with pytest.raises(testing.ActionFailed, match="history server does not answer"):
        context.run(context.on.action("smoke-test"), ready)


def test_sparkpi_shows_value_and_application(context, machine, ready):
    context.run(context.on.action("sparkpi", {"partitions": 3}), ready)
    assert machine.submitted == [["pi 3"]]
    assert context.action_results == {"pi": 3.1415, "application-id": "application_1_1", "seconds": "12.3"}


@pytest.mark.parametrize(("action", "params"), [("sparkpi", {}), ("spark-submit", {"job": "hdfs:///x.py"})])
def test_a_job_that_fails_shows_what_it_wrote(context, machine, ready, action, params):
    machine.submit_error = SubmitError("exit code 1", Run(1, "application_1_9", 1.0, "out", "log"))
    with pytest.raises(testing.ActionFailed, match="exit code 1"):
        context.run(context.on.action(action, params), ready)
    assert context.action_results == {"application-id": "application_1_9", "output": "out", "log": "log"}


def test_spark_submit_splits_words_as_a_shell_does(context, machine, ready, tmp_path):
    job = tmp_path / "job.py"
    job.touch()
    params = {"job": str(job), "job-args": "1 'two words'", "options": "--conf spark.x=1"}
    context.run(context.on.action("spark-submit", params), ready)
    assert machine.submitted == [["--conf", "spark.x=1", str(job), "1", "two words"]]
    assert context.action_results["output"] == "it printed this\n"


@pytest.mark.parametrize(
    ("params", "message"),
    [({"job": "/no/such.py"}, "no such file"), ({"job": "hdfs:///x.py", "job-args": "'"}, "No closing quotation")],
)
def test_spark_submit_refuses_nonsense(context, machine, ready, params, message):
    with pytest.raises(testing.ActionFailed, match=message):
        context.run(context.on.action("spark-submit", params), ready)
    assert machine.submitted == []


def test_list_jobs_shows_a_table(context, machine, ready):
    started = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    machine.jobs = [
        Job("application_1_2", "a name", "spark", "RUNNING", started, 5.4),
        Job("local-1", "old", "zeppelin", "COMPLETED", None, None),
    ]
    context.run(context.on.action("list-jobs"), ready)
    lines = context.action_results["jobs"].splitlines()
    assert context.action_results["count"] == 2
    assert lines[1].split() == ["application_1_2", "RUNNING", "spark", "2026-11-24", "07:00:00", "5", "a", "name"]
    assert lines[2].split() == ["local-1", "COMPLETED", "zeppelin", "-", "-", "old"]


def test_removed_it_leaves_nothing_running(context, machine, ready):
    context.run(context.on.remove(), ready)
    assert machine.uninstalled
