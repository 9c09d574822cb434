"""Which events units get, in which order, in a running model."""

import threading
import time
from typing import Any

import pytest
from world import World

from tabletop.engine import agent, hooktools
from tabletop.engine.model import Model
from tabletop.engine.operation import Decision, decide
from tabletop.errors import TabletopError


def test_two_applications_from_deployment_to_relation(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    created = world.events("app/0")
    assert created[:2] == ["data-storage-attached", "install"]
    assert created[-6:-4] == ["config-changed", "start"]
    assert created[-4:] == [
        "db-relation-joined db/0",
        "db-relation-changed db/0",
        "db-relation-joined db/1",
        "db-relation-changed db/1",
    ]
    assert "db-relation-created db" in created[2:-6]
    leader = world.events("db/0")
    assert leader.index("cluster-relation-created db") < leader.index("leader-elected") < leader.index("config-changed")
    assert "leader-elected" not in world.events("db/1")
    for events in (leader, world.events("db/1"), created):
        assert len(events) == len(set(events)), "something was told twice"


def test_a_databag_change_is_told_to_the_other_side_only(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app", num_units=2)
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    world.out("db/0", "relation-set -r db:1 port=1")
    world.settle()
    assert sorted(world.all_events()) == ["app/0 db-relation-changed db/0", "app/1 db-relation-changed db/0"]
    world.clear()
    world.out("db/0", "relation-set -r db:1 port=1")
    world.settle()
    assert world.all_events() == []


def test_an_application_databag_reaches_remote_units_and_peers_but_not_its_writer(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    world.out("db/0", "relation-set -r db:1 --app host=here; relation-set -r cluster:0 --app seed=1")
    world.settle()
    assert sorted(world.all_events()) == ["app/0 db-relation-changed db", "db/1 cluster-relation-changed db"]


def test_a_configuration_change_comes_once_per_unit_and_not_at_all_if_nothing_changed(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.settle()
    world.clear()
    world.controller.set_config("m", "db", {"port": "1", "greeting": "hi"})
    world.settle()
    assert sorted(world.all_events()) == ["db/0 config-changed", "db/1 config-changed"]
    world.clear()
    world.controller.set_config("m", "db", {"port": "1"})
    world.settle()
    assert world.all_events() == []


def test_an_option_that_is_set_and_set_back_before_the_unit_is_told_is_no_news_but_trust_is(world: World) -> None:
    world.behave("db-0", "update-status", f"until [ -e {world.directory}/go ]; do sleep 0.01; done")
    world.deploy("provider", "db")
    world.settle()
    world.clear()
    world.controller.model_config("m", {"update-status-hook-interval": "100ms"})
    world.until(lambda: world.all_events() == ["db/0 update-status"])
    world.controller.model_config("m", {"update-status-hook-interval": "5m"})
    world.controller.set_config("m", "db", {"port": "1"})
    world.controller.set_config("m", "db", {}, ["port"])
    (world.directory / "go").touch()
    world.settle()
    assert world.all_events() == ["db/0 update-status"]
    world.controller.trust("m", "db")
    world.settle()
    assert world.all_events() == ["db/0 update-status", "db/0 config-changed"]


def test_what_is_configured_while_config_changed_fails_is_told_by_its_next_try(world: World) -> None:
    world.behave("db-0", "config-changed", "[ $(config-get port) = 7 ]")
    world.deploy("provider", "db")
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    world.controller.set_config("m", "db", {"port": "7"})
    world.settle_well()
    assert world.events("db/0")[-2:] == ["config-changed", "start"]
    world.behave("db-0", "config-changed", "exit 1")
    world.controller.set_config("m", "db", {"port": "8"})
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    world.controller.set_config("m", "db", {"port": "9"})
    world.until(lambda: skipped(world, "db/0"))
    world.settle()
    world.clear()
    time.sleep(2 * world.settings.retry_max)
    assert world.all_events() == []


def skipped(world: World, unit: str) -> bool:
    """Skip a failed hook, unless it is being tried again right now."""
    try:
        world.controller.resolved("m", unit, no_retry=True)
    except TabletopError:
        return False
    return True


def test_a_refresh_while_upgrade_charm_fails_gives_the_next_try_the_newer_charm_and_no_other_upgrade(
    world: World,
) -> None:
    world.behave("db-0", "upgrade-charm", "[ -f good.txt ]")
    world.deploy("provider", "db")
    world.settle()
    world.controller.refresh("m", "db", str(world.charm("provider", {"bad.txt": "1"})))
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    world.controller.refresh("m", "db", str(world.charm("provider", {"good.txt": "2"})))
    world.settle_well()
    world.clear()
    time.sleep(2 * world.settings.retry_max)
    assert world.all_events() == []


def test_a_leader_is_told_what_the_leader_before_it_wrote_for_the_peers_but_not_its_own_first_word(
    world: World,
) -> None:
    world.behave("any", "cluster-relation-created", "if [ $(is-leader) = True ]; then relation-set --app by=$unit; fi")
    world.behave("db-1", "leader-elected", "relation-set -r cluster:0 --app by=$unit")
    world.behave("db-0", "stop", "relation-set -r cluster:0 --app by=last")
    world.deploy("provider", "db", num_units=2)
    world.settle()
    assert "cluster-relation-changed db" not in world.events("db/0")
    assert world.events("db/1").count("cluster-relation-changed db") == 1
    world.behave("db-1", "cluster-relation-departed", f"until [ -e {world.directory}/go ]; do sleep 0.01; done")
    world.clear()
    world.controller.remove_unit("m", "db/0")
    world.until(lambda: "db/0" not in world.units())
    (world.directory / "go").touch()
    world.settle()
    assert world.events("db/1") == [
        "cluster-relation-departed db/0 db/0",
        "leader-elected",
        "cluster-relation-changed db",
    ]


def test_a_unit_that_joins_is_in_the_list_of_that_hook_and_one_that_departs_is_not(world: World) -> None:
    for hook in ("db-relation-joined", "db-relation-changed", "db-relation-departed"):
        world.behave("app-0", hook, f"echo {hook} $(relation-list) >>{world.directory}/lists")
    world.deploy("provider", "db")
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.controller.remove_relation("m", "app", "db")
    world.settle()
    assert (world.directory / "lists").read_text().splitlines() == [
        "db-relation-joined db/0",
        "db-relation-changed db/0",
        "db-relation-departed",
    ]


def test_a_relation_can_not_end_between_the_decision_to_tell_of_it_and_its_first_hook(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deploy("provider", "db")
    world.deploy("requirer", "app", num_units=2)
    world.settle()
    decisions: list[Decision] = []
    ending = threading.Thread(target=world.controller.remove_relation, args=("m", "app", "db"))

    def decide_with_others_about(model: Model, unit: Any) -> Decision:
        decision = decide(model, unit)
        if unit["name"] == "app/0" and decision.event and decision.event.kind == "relation-created":
            decisions.append(decision)
            if len(decisions) == 2:
                ending.start()
                time.sleep(0.1)
        return decision

    monkeypatch.setattr(agent, "decide", decide_with_others_about)
    world.clear()
    world.controller.integrate("m", "app:db", "db")
    world.until(lambda: len(decisions) > 1)
    ending.join()
    world.settle()
    world.until(lambda: not world.status()["applications"]["app"]["relations"])
    assert world.events("app/0")[0] == "db-relation-created db"
    assert world.events("app/0")[-1] == "db-relation-broken db"


def test_a_tool_that_is_called_when_its_unit_is_gone_says_so(world: World) -> None:
    world.behave("db-0", "start", f"touch {world.directory}/begun; sleep 60")
    world.deploy("provider", "db")
    world.until((world.directory / "begun").exists)
    ((context,),) = [list(runner.model.contexts.values()) for runner in world.controller._runners.values()]
    world.controller.remove_unit("m", "db/0", force=True)
    answer = hooktools.call(context, "relation-ids", ["cluster"], {})
    assert (answer.code, answer.err) == (1, 'ERROR unit "db/0" not found\n')


def test_one_hook_at_a_time_on_a_machine(world: World) -> None:
    world.behave(
        "any",
        "install",
        f"""
        mkdir {world.directory}/lock
        sleep 0.05
        rmdir {world.directory}/lock
    """,
    )
    world.deploy("provider", "one")
    world.deploy("provider", "two", to=["0"])
    world.deploy("provider", "three", to=["0"])
    units = world.settle()
    assert {unit["workload-status"]["current"] for unit in units.values()} == {"unknown"}
    assert {unit["machine"] for unit in units.values()} == {"0"}


def test_removing_a_unit_departs_breaks_stops_and_takes_its_machine(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    world.controller.remove_unit("m", "db/0")
    world.until(lambda: "0" not in world.status()["machines"], "the machine being gone")
    world.settle()
    assert world.events("db/0") == [
        "cluster-relation-departed db/1 db/0",
        "db-relation-departed app/0 db/0",
        "db-relation-broken app",
        "stop",
        "remove",
    ]
    assert world.events("app/0") == ["db-relation-departed db/0 db/0"]
    assert sorted(world.events("db/1")) == ["cluster-relation-departed db/0 db/0", "leader-elected"]
    assert world.out("db/1", "is-leader") == "True"
    assert not (world.directory / "machines" / "m-0").exists()


def test_removing_a_relation_breaks_it_on_both_sides_and_it_can_be_made_again(world: World) -> None:
    world.deploy("provider", "db")
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    world.controller.remove_relation("m", "app", "db")
    world.settle()
    assert world.events("app/0") == ["db-relation-departed db/0 db/0", "db-relation-broken db"]
    assert world.events("db/0") == ["db-relation-departed app/0 app/0", "db-relation-broken app"]
    assert world.controller.integrate("m", "app:db", "db")["relation"] == 2
    world.settle()
    assert "db-relation-joined db/0" in world.events("app/0")


def test_removing_an_application_removes_its_relations_units_and_machines(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app")
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    world.controller.remove_application("m", "db")
    world.until(lambda: "db" not in world.status()["applications"], "db being gone")
    world.until(lambda: list(world.status()["machines"]) == ["2"], "the machines being gone")
    world.settle()
    assert world.events("app/0")[-1] == "db-relation-broken db"
    assert world.status()["relations"] == []
    world.deploy("provider", "db")
    assert list(world.settle()) == ["app/0", "db/2"]


def test_removal_by_force_runs_no_hooks_and_kills_what_runs(world: World) -> None:
    world.behave("any", "install", "sleep 100")
    world.deploy("provider", "db")
    world.until(lambda: world.all_events() == ["db/0 install"])
    world.controller.remove_application("m", "db", force=True)
    world.until(lambda: not world.status()["machines"], "the machine being gone")
    assert world.status()["applications"] == {}
    assert world.all_events() == ["db/0 install"]


def test_refresh_upgrades_and_keeps_what_the_unit_wrote(world: World) -> None:
    world.controller.deploy("m", str(world.charm("provider", {"old.txt": "1", "both.txt": "1"})), "db")
    world.settle()
    world.out("db/0", "echo mine > .unit-state.db; echo x > src/mine")
    world.clear()
    world.controller.refresh("m", "db", str(world.charm("provider", {"new.txt": "2", "both.txt": "2"})))
    world.settle()
    assert world.events("db/0") == ["upgrade-charm", "config-changed"]
    assert world.out("db/0", "cat both.txt new.txt .unit-state.db src/mine; ls old.txt 2>&1 || true").split("\n")[
        :1
    ] == ["22mine"]
    assert "No such file" in world.out("db/0", "ls old.txt 2>&1 || true")
    assert world.status()["applications"]["db"]["charm-rev"] == 1


def test_update_status_comes_by_interval(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.controller.model_config("m", {"update-status-hook-interval": "100ms"})
    world.until(lambda: world.events("db/0").count("update-status") > 1, "two update-status")


def test_a_machine_that_died_comes_back_and_starts_its_unit(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.clear()
    world.machines.stop("m-0")
    world.until(lambda: world.events("db/0") == ["start"], "start")
    world.settle()


def test_a_machine_that_can_not_be_made_says_why_and_is_tried_again(world: World) -> None:
    world.machines.broken.add("m-0")
    world.deploy("provider", "db")
    machine = world.until(lambda: (found := world.status()["machines"]["0"])["machine-status"]["message"] and found)
    assert machine["machine-status"]["message"] in ("m-0 can't be made", "starting")
    world.until(lambda: "m-0 can't be made" in world.log("ERROR"))
    world.machines.broken.clear()
    world.settle()
    assert world.events("db/0")[-1] == "start"


def test_a_charm_may_reboot_its_machine(world: World) -> None:
    world.behave("db-0", "install", "juju-reboot")
    world.behave(
        "db-0",
        "config-changed",
        f"[ -e {world.directory}/once ] || {{ touch {world.directory}/once; juju-reboot --now; }}",
    )
    world.deploy("provider", "db")
    world.settle()
    assert world.events("db/0") == [
        "install",
        "cluster-relation-created db",
        "leader-elected",
        "config-changed",
        "config-changed",
        "start",
    ]
