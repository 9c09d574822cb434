import dataclasses
import json
from pathlib import Path

import pytest
from ops import testing

from iot_charm.errors import DistributionError
from iot_lake import note
from state import TUTORIAL

COUNT = {"Exactly once": [{"type": "TABLE", "data": f"what\tcount\n{note.COUNT_LABEL}\t1000\n"}]}


@pytest.fixture
def related(alone, hdfs, yarn, spark):
    return dataclasses.replace(alone, relations=[hdfs, yarn, spark])


@pytest.fixture
def ready(context, server, related):
    return context.run(context.on.config_changed(), related)


def with_relation(state, relation):
    return dataclasses.replace(state, relations=[*state.relations, relation])


def password(state):
    (secret,) = state.secrets
    return (secret.latest_content or secret.tracked_content)["password"]


def notebook(name, text):
    source = {"name": "ignored", "paragraphs": [{"title": "t", "text": text}]}
    data = {"name": json.dumps(name), "note": json.dumps(source)}
    return testing.Relation("client", remote_app_name="another", remote_app_data=data)


def test_the_tutorial_has_the_name_that_actions_look_for():
    assert note.build()["name"] == TUTORIAL


def test_alone_it_runs_and_wants_hdfs(context, server, alone):
    state = context.run(context.on.install(), alone)
    assert [archive.name for archive in server.archives] == ["zeppelin", "spark"]
    assert state.opened_ports == {testing.TCPPort(9080)}
    assert state.workload_version == "0.10.0"
    assert state.unit_status == testing.BlockedStatus("Missing required namenode relation")
    assert list(server.notes()) == [TUTORIAL]


def test_without_a_resource_it_says_how_to_attach_it(context, server, alone, monkeypatch):
    def missing(*_args):
        raise DistributionError("resource zeppelin is missing; attach it")

    monkeypatch.setattr("iot_charm.resources.fetch", missing)
    state = context.run(context.on.install(), alone)
    assert state.unit_status == testing.BlockedStatus("resource zeppelin is missing; attach it")
    assert server.settings is None


def test_ready_it_knows_hdfs_yarn_and_spark(context, server, related, hdfs):
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status.name == "active"
    assert state.unit_status.message.startswith("Ready (REST only; attach")
    assert (server.settings.namenode.host, server.settings.resourcemanager.host) == ("192.0.2.1", "192.0.2.2")
    assert server.settings.spark.executor_memory == "2g"
    assert json.loads(state.get_relation(hdfs.id).local_unit_data["user"]) == "zeppelin"


def test_with_its_own_page_it_is_just_ready(context, server, related):
    server.web_page = True
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.ActiveStatus("Ready")


def test_nothing_happens_twice(context, server, ready):
    before = server.notes()
    context.run(context.on.update_status(), ready)
    assert server.starts == 1
    assert server.notes() == before


def test_the_server_starts_anew_for_what_it_reads(context, server, alone, related):
    context.run(context.on.install(), alone)
    context.run(context.on.config_changed(), related)
    assert server.starts == 1
    context.run(context.on.config_changed(), dataclasses.replace(related, config={"server_heap": 600}))
    assert server.starts == 2


def test_its_password_is_a_secret_of_its_own_making_and_stays(context, server, ready):
    assert len(password(ready)) >= 32
    assert server.settings.admin_password == password(ready)
    again = context.run(context.on.update_status(), ready)
    assert password(again) == password(ready)
    context.run(context.on.action("get-admin-credentials"), again)
    expected = {"url": "http://192.0.2.0:9080", "username": "admin", "password": password(ready)}
    assert context.action_results == expected


@pytest.mark.parametrize(
    ("endpoint", "status"),
    [("namenode", "Waiting for HDFS"), ("resourcemanager", "Waiting for YARN"), ("spark", "Waiting for Spark")],
)
def test_it_names_who_must_act(context, server, related, endpoint, status):
    relations = [
        dataclasses.replace(each, remote_units_data={0: {}}) if each.endpoint == endpoint else each
        for each in related.relations
    ]
    state = context.run(context.on.config_changed(), dataclasses.replace(related, relations=relations))
    assert state.unit_status == testing.WaitingStatus(status)


@pytest.mark.parametrize("endpoint", ["namenode", "resourcemanager", "spark"])
def test_it_names_a_missing_relation(context, server, related, endpoint):
    relations = [each for each in related.relations if each.endpoint != endpoint]
    state = context.run(context.on.config_changed(), dataclasses.replace(related, relations=relations))
    assert state.unit_status == testing.BlockedStatus(f"Missing required {endpoint} relation")


def test_another_version_of_spark_blocks(context, server, related):
    server.spark = "4.0.5"
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.BlockedStatus(
        "Spark is 4.0.5 here and 4.3.0 at the spark charm: attach one version"
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"server_heap": 1}, "server_heap=1"),
        ({"interpreter_heap": 70000}, "interpreter_heap=70000"),
        ({"driver_memory": "511m"}, "driver_memory='511m': must be empty, or a number with m or g"),
        ({"driver_memory": "1025g"}, "driver_memory='1025g'"),
        ({"driver_memory": "lots"}, "driver_memory='lots'"),
    ],
)
def test_a_bad_option_blocks_and_changes_nothing(context, server, ready, config, words):
    before = server.settings
    state = context.run(context.on.config_changed(), dataclasses.replace(ready, config=config))
    assert state.unit_status.name == "blocked"
    assert words in state.unit_status.message
    assert (server.settings, server.starts) == (before, 1)


@pytest.mark.parametrize("memory", ["", "512m", "999m", "1024m", "1g", "64g"])
def test_amounts_of_memory(context, server, ready, memory):
    context.run(context.on.config_changed(), dataclasses.replace(ready, config={"driver_memory": memory}))
    assert server.settings.driver_memory == memory


def test_a_server_that_does_not_start_blocks_with_the_reason(context, server, related):
    server.answering = False
    state = context.run(context.on.config_changed(), related)
    assert state.unit_status == testing.BlockedStatus("the server did not answer in 120 s")


def test_a_server_that_died_is_waited_for(context, server, ready, monkeypatch):
    monkeypatch.setattr("zeppelin.answers", lambda address: False)
    state = context.run(context.on.update_status(), ready)
    assert state.unit_status == testing.WaitingStatus("Waiting for Zeppelin to answer")


# Notebooks


def test_a_related_charm_brings_a_notebook(context, server, ready):
    brought = notebook("Fleet", "%md\nhello")
    context.run(context.on.relation_changed(brought), with_relation(ready, brought))
    assert sorted(server.notes()) == ["Fleet", TUTORIAL]


def test_a_notebook_that_is_none_is_reported(context, server, ready):
    bad = dataclasses.replace(notebook("Fleet", ""), remote_app_data={"name": '"Fleet"', "note": "{}"})
    state = context.run(context.on.relation_changed(bad), with_relation(ready, bad))
    assert state.unit_status.name == "blocked"
    assert "not a note" in state.unit_status.message


def test_a_notebook_without_a_name_is_reported(context, server, ready):
    bad = dataclasses.replace(notebook("Fleet", ""), remote_app_data={"name": '""', "note": "{}"})
    state = context.run(context.on.relation_changed(bad), with_relation(ready, bad))
    assert "published name=''" in state.unit_status.message


def test_a_new_version_replaces_an_unedited_notebook_only(context, server, ready):
    first, second = notebook("Fleet", "one"), notebook("Fleet", "two")
    context.run(context.on.relation_changed(first), with_relation(ready, first))
    context.run(context.on.relation_changed(second), with_relation(ready, second))
    stored = server.stored[server.notes()["Fleet"]]
    assert stored["paragraphs"][0]["text"] == "two"
    stored["paragraphs"][0]["text"] = "mine"
    third = notebook("Fleet", "three")
    context.run(context.on.relation_changed(third), with_relation(ready, third))
    assert server.stored[server.notes()["Fleet"]]["paragraphs"][0]["text"] == "mine"


def test_a_deleted_notebook_stays_deleted(context, server, ready):
    server.delete(server.notes()[TUTORIAL])
    context.run(context.on.update_status(), ready)
    assert server.notes() == {}


def test_a_notebook_that_is_there_already_is_taken_as_it_is(context, server, related):
    server.import_note(note.build())
    before = server.notes()
    context.run(context.on.config_changed(), related)
    assert server.notes() == before


# Actions


def test_run_notebook_runs_all_paragraphs_in_their_order(context, server, ready):
    server.shows = COUNT
    context.run(context.on.action("run-notebook", {"node": "n:1", "sent": 1000}), ready)
    assert [title for title, _ in server.ran] == [each["title"] for each in note.build()["paragraphs"]]
    assert {tuple(forms.items()) for _, forms in server.ran} == {(("node", "n:1"), ("sent", "1000"))}
    results = context.action_results
    assert results["count"] == 1000
    assert results["paragraphs"].splitlines()[0] == "FINISHED  2 sec  Welcome"
    page = Path(results["html"]).read_text()
    assert f"<h1>{TUTORIAL}</h1>" in page
    assert "1000" in page
    assert context.action_logs[:2] == ["1/12 Welcome", "1/12 Welcome: FINISHED, 2.0 s"]
    assert server.restarted[-2:] == ["python", "python"]


def test_run_notebook_fails_where_the_count_differs(context, server, ready):
    server.shows = COUNT
    with pytest.raises(testing.ActionFailed, match="counts 1000 readings, 1001 were sent"):
        context.run(context.on.action("run-notebook", {"sent": 1001}), ready)
    assert context.action_results["count"] == 1000


def test_run_notebook_stops_at_the_first_failure_and_says_why(context, server, ready):
    server.outcomes = {"The files in HDFS": "ERROR"}
    server.shows = {"The files in HDFS": [{"type": "TEXT", "data": "Traceback\nRuntimeError: no such <directory>\n"}]}
    message = r"paragraph 3 \(The files in HDFS\) ended ERROR: RuntimeError: no such <directory>"
    with pytest.raises(testing.ActionFailed, match=message):
        context.run(context.on.action("run-notebook"), ready)
    assert len(server.ran) == 3
    assert server.restarted[-2:] == ["python", "python"]
    assert "count" not in context.action_results
    assert "no such &lt;directory&gt;" in Path(context.action_results["html"]).read_text()


def test_run_notebook_stops_what_takes_too_long(context, server, ready):
    server.outcomes = {"Aggregates per sensor": "TIMEOUT"}
    with pytest.raises(testing.ActionFailed, match="did not end within 7 s"):
        context.run(context.on.action("run-notebook", {"timeout": 7}), ready)


def test_run_notebook_wants_a_cluster(context, server, alone):
    alone = context.run(context.on.install(), alone)
    with pytest.raises(testing.ActionFailed, match="Missing required namenode relation"):
        context.run(context.on.action("run-notebook"), alone)


@pytest.mark.parametrize("action", ["run-notebook", "show-notebook"])
def test_an_unknown_notebook_lists_the_known(context, server, ready, action):
    with pytest.raises(testing.ActionFailed, match=f"no notebook 'x'; there are: {TUTORIAL}"):
        context.run(context.on.action(action, {"name": "x"}), ready)


def test_show_notebook_renders_without_running(context, server, ready):
    context.run(context.on.action("show-notebook"), ready)
    assert server.ran == []
    assert context.action_results["paragraphs"].splitlines()[0] == "READY  -  Welcome"
    assert context.action_results["html"].endswith("zeppelin-flume-hdfs-tutorial.html")


def test_list_notebooks(context, server, ready):
    context.run(context.on.action("list-notebooks"), ready)
    assert context.action_results == {"count": 1, "notebooks": TUTORIAL}


def test_smoke_test_runs_both_interpreters_and_leaves_nothing(context, server, ready):
    server.shows = {
        "md": [{"type": "HTML", "data": "<p><strong>bold</strong></p>"}],
        "python": [{"type": "TEXT", "data": "42 3.11.2 4.3.0\n"}],
    }
    before = server.notes()
    context.run(context.on.action("smoke-test"), ready)
    assert context.action_results["python"] == "Python 3.11.2, PySpark 4.3.0"
    assert server.notes() == before


def test_smoke_test_fails_with_what_the_paragraph_said(context, server, ready):
    server.outcomes = {"python": "ERROR"}
    server.shows = {"python": [{"type": "TEXT", "data": "No module named 'pyspark'"}]}
    before = server.notes()
    with pytest.raises(testing.ActionFailed, match="paragraph python ended ERROR: No module named 'pyspark'"):
        context.run(context.on.action("smoke-test"), ready)
    assert server.notes() == before


def test_smoke_test_checks_what_is_shown(context, server, ready):
    with pytest.raises(testing.ActionFailed, match="the paragraphs ran, but showed"):
        context.run(context.on.action("smoke-test"), ready)


def test_restart_restarts(context, server, ready):
    context.run(context.on.action("restart"), ready)
    assert server.starts == 2
    assert context.action_results["version"] == "0.10.0"


def test_reinstall_unpacks_anew_and_keeps_notebooks(context, server, ready):
    before = server.notes()
    context.run(context.on.action("reinstall"), ready)
    assert (server.forgotten, server.starts) == (1, 2)
    assert server.archives is not None
    assert server.notes() == before


@pytest.mark.parametrize(
    "action", ["restart", "smoke-test", "run-notebook", "show-notebook", "list-notebooks", "get-admin-credentials"]
)
def test_actions_say_that_an_option_is_bad(context, server, ready, action):
    with pytest.raises(testing.ActionFailed, match="server_heap=1"):
        context.run(context.on.action(action), dataclasses.replace(ready, config={"server_heap": 1}))


def test_removed_it_leaves_nothing_running(context, server, ready):
    context.run(context.on.remove(), ready)
    assert server.uninstalled
