"""What an operator asks for: actions, configuration, relations, resources; and what is refused, in which words."""

import dataclasses
import json
import stat
import threading
import zipfile
from pathlib import Path

import jubilant
import pytest
from jubilant import statustypes, unittypes
from world import SETTINGS, World

from tabletop.engine import applications, tasks, usersecrets
from tabletop.engine.agent import UnitAgent
from tabletop.engine.command import Change
from tabletop.engine.controller import Controller
from tabletop.engine.hooks import HookContext, environment
from tabletop.engine.keeper import MachineKeeper
from tabletop.engine.model import NotFoundError, keep_file
from tabletop.errors import TabletopError


def test_an_action_logs_returns_results_and_takes_its_parameters(world: World) -> None:
    world.behave(
        "any",
        "action-greet",
        """
        action-log "counting to $(action-get count)"
        action-set text="hello $(action-get name)" nested.a=1 nested.b=2
        echo out; echo err >&2
        """,
    )
    world.deploy("provider", "db")
    world.settle()
    task = world.action("db/leader", "greet", count=2)
    assert (task["status"], task["message"], task["unit"]) == ("completed", "", "db/0")
    assert task["results"] == {
        "text": "hello world",
        "nested": {"a": "1", "b": "2"},
        "return-code": 0,
        "stdout": "out\n",
        "stderr": "err\n",
    }
    assert world.lines[-1].endswith("counting to 2")
    assert task["log"][0].endswith("counting to 2")


@pytest.mark.parametrize("none", ["0s", "0h0.0m"])
def test_update_status_has_an_interval_and_10s_is_one_as_charms_tests_have_it(world: World, none: str) -> None:
    world.controller.model_config("m", {"update-status-hook-interval": "10s"})
    with pytest.raises(TabletopError, match=f"update status hook frequency {none} cannot be 0"):
        world.controller.model_config("m", {"update-status-hook-interval": none})
    assert world.controller.model_config("m")["update-status-hook-interval"]["Value"] == "10s"


@pytest.mark.parametrize("way", ["sleep 600", "while echo again; do sleep 0.1; done"])
def test_what_a_hook_leaves_running_keeps_no_thread_of_the_daemon_s(world: World, way: str) -> None:
    world.deploy("provider", "db")
    world.settle()
    readers = [thread for thread in threading.enumerate() if thread.name.startswith("read-")]
    assert world.out("db/0", f"({way}) & echo done").splitlines()[0].strip() in ("done", "again")
    assert [thread for thread in threading.enumerate() if thread.name.startswith("read-")] == readers == []


def test_an_action_that_fails_or_crashes(world: World) -> None:
    world.behave("any", "action-refuse", "action-set why=because; action-fail 'not today'")
    world.behave("any", "action-crash", "relation-set -r 0 a=b; exit 7")
    world.deploy("provider", "db")
    world.settle()
    refused = world.action("db/0", "refuse")
    assert (refused["status"], refused["message"], refused["results"]["why"]) == ("failed", "not today", "because")
    crashed = world.action("db/0", "crash")
    assert (crashed["status"], crashed["message"], crashed["results"]["return-code"]) == ("failed", "exit status 7", 7)
    assert world.out("db/0", "relation-get -r 0 a db/0") == ""


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "count: it is required"),
        ({"count": -1}, "count: -1 is less than the minimum of 1"),
        ({"count": "two"}, 'count: "two" is not of type integer'),
        ({"count": 1, "tone": "hot"}, 'tone: "hot" is not one of "warm", "cold"'),
        ({"count": 1, "extra": 1}, "extra: there is no such parameter; known: count, name, tone"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(world: World, params: dict[str, object], text: str) -> None:
    world.deploy("provider", "db")
    with pytest.raises(TabletopError) as caught:
        world.controller.run_action("m", ["db/0"], "greet", params)
    assert str(caught.value) == text
    with pytest.raises(NotFoundError, match='task "1" not found'):
        world.controller.task("m", 1)


def test_actions_and_units_that_are_not_there(world: World) -> None:
    world.deploy("provider", "db")
    with pytest.raises(NotFoundError, match='action "nope" not defined on unit "db/0"'):
        world.controller.run_action("m", ["db/0"], "nope")
    with pytest.raises(NotFoundError, match='unit "db/7" not found'):
        world.controller.run_action("m", ["db/7"], "greet", {"count": 1})


def test_a_command_that_does_not_end_is_told_why(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    told: list[str] = []

    def run() -> None:
        with pytest.raises(TabletopError) as caught:
            world.controller.exec(world.call, "m", "db/0", script=f"touch {world.directory}/begun; sleep 30")
        told.append(str(caught.value))

    running = threading.Thread(target=run)
    running.start()
    world.until((world.directory / "begun").exists)
    world.controller.remove_unit("m", "db/0", force=True)
    running.join(20)
    assert told == ["the command did not end on unit db/0: the unit db/0 has been removed"]


def test_a_task_that_is_cancelled_just_before_its_program_starts_never_starts_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment_late(context: HookContext) -> dict[str, str]:
        world.controller.cancel_task("m", 1)
        return environment(context)

    world.behave("any", "action-greet", f"touch {world.directory}/begun")
    world.deploy("provider", "db")
    world.settle()
    monkeypatch.setattr(tasks, "environment", environment_late)
    task = world.action("db/0", "greet", count=1)
    assert (task["status"], task["message"]) == ("aborted", "it was cancelled")
    assert not (world.directory / "begun").exists()


def test_waiting_for_a_task_may_time_out(world: World) -> None:
    world.behave("any", "action-greet", "sleep 30")
    world.deploy("provider", "db")
    world.settle()
    queued = world.controller.run_action("m", ["db/0"], "greet", {"count": 1})
    task = world.controller.wait_task(world.call, "m", queued["tasks"]["db/0"], timeout=0.2)
    assert task["status"] in ("pending", "running")


def test_configuration_is_checked_and_the_old_values_stay(world: World) -> None:
    world.deploy("provider", "db", config={"port": "1"})
    world.settle()
    world.clear()
    with pytest.raises(TabletopError) as caught:
        world.controller.set_config("m", "db", {"greeting": "hi", "port": "abc"})
    assert str(caught.value) == 'option "port" expected int, got "abc"'
    with pytest.raises(TabletopError, match='unknown option "nope"'):
        world.controller.set_config("m", "db", {"nope": "1"})
    world.settle()
    assert world.events("db/0") == []
    settings = world.controller.get_config("m", "db")["settings"]
    assert settings["port"]["value"] == 1
    assert settings["port"]["source"] == "user"
    assert "value" not in settings["greeting"]
    world.controller.set_config("m", "db", {"switch": "true", "ratio": "2"}, reset=["port"])
    assert json.loads(world.out("db/0", "config-get --format json")) == {
        "port": 5432,
        "ratio": 2.0,
        "switch": True,
        "fail_on": "",
        "hang_on": "",
    }
    assert world.out("db/0", "config-get port") == "5432"
    assert json.loads(world.out("db/0", "config-get greeting --format json")) is None


def test_relations_that_can_not_be_are_refused(world: World) -> None:
    world.deploy("provider", "db", num_units=0)
    world.deploy("provider", "db2", num_units=0)
    world.deploy("requirer", "app", num_units=0)
    integrate = world.controller.integrate
    with pytest.raises(TabletopError, match=r'ambiguous relation: "app db" could refer to "app:db db:db"; "app:single'):
        integrate("m", "app", "db")
    with pytest.raises(TabletopError, match='no relations found: app:db speaks "testdb", db:other speaks "other"'):
        integrate("m", "app:db", "db:other")
    with pytest.raises(TabletopError, match='application "app" has no "nope" relation'):
        integrate("m", "app:nope", "db")
    with pytest.raises(NotFoundError, match='application "gone" not found'):
        integrate("m", "app", "gone")
    integrate("m", "app:db", "db:db")
    with pytest.raises(TabletopError) as caught:
        integrate("m", "db:db", "app:db")
    assert str(caught.value) == 'cannot add relation "app:db db:db": relation app:db db:db already exists'
    integrate("m", "app:single", "db:other")
    with pytest.raises(TabletopError, match="would exceed its maximum relation limit of 1"):
        integrate("m", "app:single", "db2:other")
    with pytest.raises(NotFoundError, match="not found"):
        world.controller.remove_relation("m", "db2", "app")


def test_deployments_that_can_not_be_leave_nothing(world: World) -> None:
    charm = str(world.charm("provider"))
    deploy = world.controller.deploy
    for wrong, text in (
        ({"app": "Bad_Name"}, "invalid application name"),
        ({"config": {"port": "x"}}, 'option "port" expected int, got "x"'),
        ({"config": {"nope": "x"}}, 'unknown option "nope"'),
        ({"resources": {"nope": "/etc/passwd"}}, 'unrecognized resource "nope"'),
        ({"resources": {"blob": "/no/such/file"}}, "no such file: /no/such/file"),
        ({"to": ["7"]}, "machine 7 not found"),
        ({"to": ["zone=a"]}, 'invalid placement "zone=a"'),
        ({"charm": "/no/such.charm"}, "no such charm"),
    ):
        with pytest.raises(TabletopError, match=text):
            deploy("m", **{"charm": charm, "app": "db", **wrong})
    assert world.status()["applications"] == {}
    assert world.status()["machines"] == {}
    deploy("m", charm, "db")
    with pytest.raises(TabletopError, match='cannot add application "db": application already exists'):
        deploy("m", charm, "db")


def test_a_resource_is_linked_not_copied_and_a_new_one_replaces_it(world: World) -> None:
    blob = world.directory / "anything"
    blob.write_text("first")
    world.deploy("provider", "db", num_units=2, resources={"blob": str(blob)})
    world.settle()
    paths = {world.out(unit, "resource-get blob") for unit in ("db/0", "db/1")}
    assert len(paths) == 2
    assert all(path.endswith("/resources/blob/blob.bin") for path in paths)
    assert len({(world.directory / path).stat().st_ino for path in paths}) == 1
    blob.write_text("other")
    world.controller.refresh("m", "db", resources={"blob": str(blob)})
    world.settle()
    assert world.out("db/0", "cat $(resource-get blob)") == "other"
    assert "not found" in world.refused("db/0", "resource-get nope")


def test_status_and_show_unit_are_what_jubilant_parses(world: World) -> None:
    world.behave("any", "start", "status-set active 'all well'; open-port 80")
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    status = statustypes.Status._from_dict(json.loads(json.dumps(world.status())))
    assert jubilant.all_active(status)
    assert jubilant.all_agents_idle(status)
    assert status.apps["db"].scale == 2
    assert status.apps["db"].units["db/0"].leader
    assert status.apps["db"].units["db/0"].open_ports == ["80/tcp"]
    assert status.apps["db"].relations["db"][0].related_app == "app"
    assert status.apps["app"].app_status.message == "all well"
    assert status.machines["0"].juju_status.current == "started"
    assert status.storage.storage["data/0"].kind == "filesystem"
    info = unittypes.UnitInfo._from_dict(world.controller.show_unit("m", "app/0")["app/0"])
    assert info.relation_info[0].related_units["db/1"].data["ingress-address"] == "127.0.0.11"


def test_two_operators_at_once(world: World) -> None:
    errors: list[TabletopError] = []

    def deploy(name: str) -> None:
        try:
            world.controller.deploy("m", str(charm), name)
        except TabletopError as error:
            errors.append(error)

    charm = world.charm("provider")
    names = ["db", "db", "one", "two"]
    threads = [threading.Thread(target=deploy, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error) for error in errors] == ['cannot add application "db": application already exists']
    assert sorted(world.settle()) == ["db/0", "one/0", "two/0"]


def test_models_live_side_by_side(world: World) -> None:
    controller = world.controller
    controller.add_model("n")
    controller.deploy("n", str(world.charm("provider")), "db")
    with pytest.raises(TabletopError, match='model "n" already exists'):
        controller.add_model("n")
    with pytest.raises(TabletopError, match="not a valid model name"):
        controller.add_model("No!")
    assert world.status()["applications"] == {}
    assert [model["name"] for model in controller.models()] == ["m", "n"]
    controller.destroy_model(world.call, "n")
    assert not (world.directory / "machines" / "n-0").exists()
    with pytest.raises(NotFoundError, match="model n not found"):
        controller.status("n")
    controller.add_model("n")


def test_a_machine_takes_plain_programs_and_says_where_it_is(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    result = world.controller.exec(world.call, "m", "0", argv=["/bin/sh", "-c", "echo hi; exit 4"])
    assert (result["stdout"], result["return-code"]) == ("hi\n", 4)
    assert world.controller.machine("m", "db/0")["name"] == "m-0"
    with pytest.raises(NotFoundError, match="machine 9 not found"):
        world.controller.machine("m", "9")
    with pytest.raises(TabletopError, match="timed out"):
        world.controller.exec(world.call, "m", "db/0", script="sleep 10", timeout=0.1)


def test_the_log_can_be_read_by_unit_level_and_from_a_line_on(world: World) -> None:
    world.behave("any", "start", "juju-log -l WARNING 'look out'; echo to-stdout; echo to-stderr >&2")
    world.deploy("provider", "db")
    world.settle()
    log = world.controller.debug_log
    warnings = log("m", unit="db/0", level="WARNING")["lines"]
    assert [(line["module"], line["message"]) for line in warnings] == [
        ("unit.db/0.juju-log", "look out"),
        ("unit.db/0.start", "to-stderr"),
    ]
    assert any(line["message"] == "to-stdout" and line["level"] == "DEBUG" for line in log("m")["lines"])
    assert any("took" in line["message"] for line in log("m", unit="db-0")["lines"])
    last = log("m", limit=1)["lines"][0]
    assert log("m", since_id=last["id"])["lines"] == []
    assert log("m", unit="machine-0")["lines"][0]["message"].startswith("started as m-0")


def test_trust_and_model_configuration(world: World) -> None:
    world.deploy("provider", "db", num_units=0)
    world.controller.trust("m", "db")
    assert world.controller.get_config("m", "db")["application-config"]["trust"]["value"] is True
    with pytest.raises(TabletopError, match='"soon" is not a duration'):
        world.controller.model_config("m", {"update-status-hook-interval": "soon"})
    with pytest.raises(TabletopError, match='key "nope" not known'):
        world.controller.model_config("m", {"nope": 1})
    config = world.controller.model_config("m", {"update-status-hook-interval": "1h30m"})
    assert config["update-status-hook-interval"] == {"Value": "1h30m", "Source": "model"}
    config = world.controller.model_config("m", reset=["update-status-hook-interval"])
    assert config["update-status-hook-interval"] == {"Value": "5m", "Source": "default"}


def test_the_model_goes_on_while_the_files_of_a_refresh_are_copied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy("provider", "db", num_units=0)
    copied: list[str] = []

    def copying(source: Path, store: Path, suffix: str = "") -> tuple[str, int]:
        asking = threading.Thread(target=lambda: copied.append(world.status()["model"]["name"]))
        asking.start()
        asking.join(20)
        return keep_file(source, store, suffix)

    monkeypatch.setattr(applications, "keep_file", copying)
    world.controller.refresh("m", "db", str(world.charm("provider")), config={"port": 5})
    assert copied == ["m"]
    with pytest.raises(TabletopError, match='unknown option "nope"'):
        world.controller.refresh("m", "db", str(world.charm("provider")), config={"nope": 5})
    status = world.status()["applications"]["db"]
    assert (status["charm-rev"], world.controller.get_config("m", "db")["settings"]["port"]["value"]) == (1, 5)


def test_refreshes_that_can_not_be(world: World) -> None:
    world.deploy("provider", "db", num_units=0)
    world.deploy("requirer", "app", num_units=0)
    world.controller.integrate("m", "app:db", "db")
    with pytest.raises(TabletopError, match='its charm is "provider", not "requirer"'):
        world.controller.refresh("m", "db", str(world.charm("requirer")))
    less = "name: provider\nsummary: Less.\npeers:\n  cluster: {interface: cluster}\n"
    with pytest.raises(TabletopError, match='it would break the relation "db:db"'):
        world.controller.refresh("m", "db", str(world.charm("provider", {"metadata.yaml": less})))


def test_charms_that_a_machine_can_not_run_are_refused(world: World) -> None:
    text = "name: provider\nsummary: Another.\n"
    for extra, problem in (("storage:\n  disk: {type: block}\n", "no storage of type block"),):
        with pytest.raises(TabletopError, match=problem):
            world.controller.deploy("m", str(world.charm("provider", {"metadata.yaml": text + extra})), "db")
    image = text + "resources:\n  it: {type: oci-image}\n"
    charm = str(world.charm("provider", {"metadata.yaml": image}))
    with pytest.raises(TabletopError, match="a machine can only use files"):
        world.controller.deploy("m", charm, "db", resources={"it": charm})
    with pytest.raises(TabletopError, match="must be a positive integer"):
        world.deploy("provider", "db", num_units=-1)
    with pytest.raises(TabletopError, match="2 placements for 1 units"):
        world.deploy("provider", "db", to=["new", "new"])


def test_a_charm_without_dispatch_runs_its_hooks_or_skips_them(world: World) -> None:
    charm = world.directory / "old.charm"
    with zipfile.ZipFile(charm, "w") as archive:
        archive.writestr("metadata.yaml", "name: old\nsummary: Old.\n")
        info = zipfile.ZipInfo("hooks/start")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, "#!/bin/sh\nstatus-set active 'by hooks/start'\n")
    world.controller.deploy("m", str(charm), "old")
    assert world.settle()["old/0"]["workload-status"]["message"] == "by hooks/start"
    assert 'skipped (the charm has no such hook) "install" hook' in world.log()


def test_what_can_not_run_at_all_is_a_failed_hook(world: World) -> None:
    world.controller.deploy("m", str(world.charm("provider", {"dispatch.txt": ""})), "db")
    world.settle()
    world.out("db/0", "echo '#!/no/such/program' > dispatch")
    world.controller.set_config("m", "db", {"port": "1"})
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    assert "No such file or directory" in world.log("ERROR")


def test_units_removed_by_force_leave_the_others_on_their_machine(world: World) -> None:
    world.deploy("provider", "db")
    world.deploy("requirer", "app", to=["0"])
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.out("app/0", "secret-add --owner unit abc=b")
    world.behave("app-0", "action-greet", "sleep 30")
    world.controller.run_action("m", ["app/0"], "greet", {"count": 1})
    world.controller.remove_unit("m", "app/0", force=True)
    world.settle()
    assert list(world.units()) == ["db/0"]
    assert list(world.status()["machines"]) == ["0"]
    assert world.events("db/0")[-1] == "db-relation-departed app/0 app/0"
    assert world.controller.secrets("m") == {}
    assert not (world.directory / "state/models/m/machines/0/agents/unit-app-0").exists()
    task = world.controller.task("m", 2)
    assert (task["status"], task["message"]) == ("aborted", "the unit app/0 has been removed")


def test_a_model_that_was_being_destroyed_when_tabletop_died_is_gone_after_it(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    model = world.controller._model("m")
    with model.store.write():
        model.store.execute("UPDATE model SET life = 'dying'")
    world.restart()
    assert world.controller.models() == []
    world.until(lambda: not any((world.directory / "state/models").iterdir()), "the model being gone")
    assert not (world.directory / "machines/m-0").exists()


def test_a_removal_that_goes_on_keeps_no_daemon_from_starting_and_can_be_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    destroy = world.machines.destroy

    def destroy_late(name: str) -> None:
        assert gate.wait(20)
        if not caplog.records:
            raise TabletopError(f"{name} is busy")
        destroy(name)

    world.deploy("provider", "db")
    world.settle()
    world.clear()
    model = world.controller._model("m")
    with model.store.write():
        model.store.execute("UPDATE model SET life = 'dying'")
    world.controller.stop()
    monkeypatch.setattr(world.machines, "destroy", destroy_late)
    world.controller = Controller(world.directory / "state", world.machines, SETTINGS)
    with pytest.raises(TabletopError, match='model "m" is being destroyed; try again when it is gone'):
        world.controller.add_model("m")
    gate.set()
    world.until(world.controller.models, "the model being there again")
    assert caplog.messages == ["the model m can't be removed: m-0 is busy; destroy-model tries it again"]
    with pytest.raises(NotFoundError, match="model m not found: it is being destroyed"):
        world.controller.destroy_model(world.call, "m")
    world.until(lambda: not (world.directory / "state/models/m").exists(), "the model being gone")
    assert not world.machines.is_running("m-0")
    assert world.all_events() == [], "its units ran no hooks"


def test_who_comes_to_a_model_as_it_is_removed_is_told_so(world: World) -> None:
    waiting = Change(world.controller._runner("m"))
    world.controller.destroy_model(world.call, "m")
    with (
        pytest.raises(TabletopError, match="model m is closed: it was removed, or tabletop is ending"),
        waiting as model,
    ):
        usersecrets.add_secret(model, "mine", {"key": "value"})


@pytest.mark.parametrize("kind", ["agent", "keeper"])
def test_who_is_stopped_just_before_waiting_does_not_wait(world: World, kind: str) -> None:
    world.deploy("provider", "db")
    world.settle()
    model = world.controller._model("m")
    model.settings = dataclasses.replace(SETTINGS, machine_poll=600)
    worker = UnitAgent(model, "db/0") if kind == "agent" else MachineKeeper(model, 0, threading.Semaphore())
    worker.stop()
    step = threading.Thread(target=worker._step, daemon=True)  # as `run` does that has not seen it yet
    step.start()
    step.join(10)
    assert not step.is_alive()


def test_files_that_nothing_uses_go_at_the_next_start(world: World) -> None:
    blob = world.directory / "blob"
    blob.write_text("x")
    world.deploy("provider", "db", num_units=0, resources={"blob": str(blob)})
    world.deploy("requirer", "app", num_units=0)
    world.controller.remove_application("m", "db")
    world.restart()
    model = world.directory / "state/models/m"
    assert len(list((model / "charms").iterdir())) == 1
    assert list((model / "resources").iterdir()) == []


def test_actions_are_listed_with_their_schemas(world: World) -> None:
    world.deploy("provider", "db", num_units=0)
    listed = world.controller.actions("m", "db")
    assert sorted(listed) == ["crash", "greet", "refuse"]
    assert listed["greet"]["properties"]["count"] == {"type": "integer", "minimum": 1}
    assert listed["greet"]["required"] == ["count"]
