"""Machines that die and networks that are cut, as the model sees them; where units are put, and what machines get."""

import threading
import time
from typing import NoReturn

import pytest
from world import World

from tabletop.engine import constraints, transaction
from tabletop.errors import TabletopError
from tabletop.partition import Cut
from tabletop.quotas import Limits


def machine(world: World, number: str = "0") -> dict[str, str]:
    found = world.status()["machines"][number]
    return {**found["juju-status"], "message": found["machine-status"]["message"], "address": found["dns-name"]}


def starts(world: World, unit: str) -> int:
    return [event.strip() for event in world.events(unit)].count("start")


def test_a_killed_machine_comes_back_and_its_units_get_start(world: World) -> None:
    world.deploy("provider", "db")
    world.deploy("provider", "dba", to=["0"])
    world.settle()
    before = machine(world)["address"]
    world.clear()
    assert world.controller.kill_machine("m", "db/0") == {"machine": "0"}
    world.until(lambda: starts(world, "db/0") == starts(world, "dba/0") == 1, "start on both")
    world.settle()
    assert {event.split()[1] for event in world.all_events()} == {"start"}
    assert machine(world)["address"] == before


def test_a_machine_that_reboots_by_itself_is_noticed(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.clear()
    (world.directory / "machines/m-0/running").write_text("another run")
    world.until(lambda: starts(world, "db/0") == 1, "start")


def test_a_reboot_while_no_daemon_runs_is_noticed_too(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.clear()
    world.controller.stop()
    (world.directory / "machines/m-0/running").write_text("another run")
    world.restart()
    world.until(lambda: starts(world, "db/0") == 1, "start")


def test_a_machine_stays_down_as_long_as_asked_even_over_a_restart(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.controller.kill_machine("m", "0", stay=True)
    assert machine(world)["current"] == "down"
    assert machine(world)["message"] == "its plug was pulled"
    world.restart()
    time.sleep(0.6)
    assert machine(world)["current"] == "down"
    assert world.units()["db/0"]["juju-status"]["current"] == "lost"
    world.clear()
    world.controller.start_machine("m", "0")
    world.until(lambda: starts(world, "db/0") == 1, "start")
    with pytest.raises(TabletopError, match="machine 0 is not off"):
        world.controller.start_machine("m", "0")
    world.settle()
    world.clear()
    world.controller.kill_machine("m", "0", seconds=0.5)
    assert machine(world)["current"] == "down"
    world.until(lambda: starts(world, "db/0") == 1, "start")


def test_a_machine_that_has_never_run_can_not_be_killed_and_comes_up(world: World) -> None:
    world.machines.broken.add("m-0")
    world.deploy("provider", "db")
    with pytest.raises(TabletopError, match="machine 0 has not started yet: wait until it has"):
        world.controller.kill_machine("m", "0", stay=True)
    world.machines.broken.clear()
    world.until(lambda: starts(world, "db/0") == 1, "start")


def test_a_machine_whose_plug_is_pulled_while_a_hook_asks_for_a_reboot_stays_off(world: World) -> None:
    world.deploy("provider", "db")
    world.settle()
    world.controller.kill_machine("m", "0", stay=True)
    transaction.reboot(world.controller._model("m"), 0)
    assert machine(world)["current"] == "down"
    assert machine(world)["message"] == "its plug was pulled"


def test_the_model_goes_on_while_status_asks_the_kernel_for_cuts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    def cuts() -> list[Cut]:
        writing = threading.Thread(target=lambda: world.controller.set_config("m", "db", {"port": "7"}))
        writing.start()
        writing.join(20)
        told.append(not writing.is_alive())
        return []

    world.deploy("provider", "db", num_units=0)
    monkeypatch.setattr(world.machines, "cuts", cuts)
    world.status()
    assert told == [True]


def test_a_status_says_that_cuts_can_t_be_told_and_heal_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise TabletopError("nft is out of order")

    world.deploy("provider", "db")
    world.settle()
    monkeypatch.setattr(world.machines, "cuts", fail)
    monkeypatch.setattr(world.machines, "heal", fail)
    assert machine(world)["current"] == "started"
    assert machine(world)["message"] == "whether its network is cut off can't be told: nft is out of order"
    assert world.units()["db/0"]["workload-status"]["current"]
    with pytest.raises(TabletopError, match="out of order"):
        world.controller.heal_network("m")


def test_cuts_show_and_heal(world: World) -> None:
    world.deploy("provider", "db", num_units=2)
    world.deploy("provider", "dba", to=["0"])
    world.settle()
    assert world.controller.cut_network("m", "db/0", "db/1", 30) == "machine 0: cut off from machine 1"
    world.controller.cut_network("m", "1", outside=True)
    assert machine(world, "0")["message"] == "network cut off from machine 1 (heals in 30 s)"
    assert machine(world, "1")["message"] == ("network cut off from machine 0 (heals in 30 s), the outside world")
    with pytest.raises(TabletopError, match="db/0 and dba/0 are on the same machine, 0"):
        world.controller.cut_network("m", "db/0", "dba/0")
    with pytest.raises(TabletopError, match="machine 7 not found; this model has 0, 1"):
        world.controller.cut_network("m", "7")
    assert world.controller.heal_network("m", "db/1", outside=True) == 1
    assert world.controller.heal_network("m") == 1
    assert world.controller.heal_network("m") == 0
    assert machine(world, "0")["message"] == ""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("5", "machine 5 not found; this model has 0"),
        ("lxd:5", "machine 5 not found; this model has 0"),
        ("zone=a", 'invalid placement "zone=a": expected a machine such as 0, "new", or "lxd:0"'),
        ("0/lxd/1", 'invalid placement "0/lxd/1"'),
        ("ssh:me@there", 'invalid placement "ssh:me@there"'),
        ("", 'invalid placement ""'),
    ],
)
def test_placements_that_make_no_sense(world: World, place: str, message: str) -> None:
    world.deploy("provider", "db")
    with pytest.raises(TabletopError, match=message):
        world.deploy("provider", "other", to=[place])
    assert list(world.status()["applications"]) == ["db"]


def test_units_go_where_they_are_put(world: World) -> None:
    world.deploy("provider", "db", num_units=4, to=["new", "0", "lxd:0", "lxd"])
    assert [unit["machine"] for unit in world.units().values()] == ["0", "0", "1", "2"]
    world.controller.add_unit("m", "db", num_units=2, to=["2"])
    assert [unit["machine"] for unit in world.units().values()][4:] == ["2", "3"]


def test_limits_are_the_constraints_of_the_application_or_else_of_the_model(world: World) -> None:
    world.controller.model_constraints("m", {"mem": "2G"})
    world.deploy("provider", "one", constraints={"cores": "2"})
    world.deploy("provider", "two", constraints={"mem": "512M"})
    world.deploy("provider", "three", constraints={"mem": ""})
    world.settle()
    assert world.machines.limits["m-0"] == Limits(2 << 30, 2)
    assert world.machines.limits["m-1"] == Limits(512 << 20, None)
    assert world.machines.limits["m-2"] == Limits(None, None)
    found = world.status()["machines"]
    assert found["0"]["constraints"].split()[1:] == ["cores=2", "mem=2048M"]
    assert "mem=512M" in found["1"]["hardware"]


def test_what_has_no_effect_is_said_and_nonsense_refused(world: World) -> None:
    world.machines.lacking.append("memory")
    world.deploy("provider", "db", constraints={"mem": "1G", "tags": "fast", "cores": "1"}, call=world.call)
    assert world.lines == [
        "NOTICE constraint tags has no effect here",
        "NOTICE constraint mem has no effect: this host's control groups can't limit memory",
    ]
    for wrong, message in (
        ({"mem": "much"}, "expected a size"),
        ({"mem": "64M"}, "needs 128M"),
        ({"mem": "-1G"}, "expected a size"),
        ({"mem": "inf"}, "expected a size"),
        ({"cores": "x"}, "a number"),
    ):
        with pytest.raises(TabletopError, match=message):
            world.deploy("provider", "other", constraints=wrong)
    assert constraints.limits({"mem": "0", "cores": "0"}) == Limits(None, None)
    assert constraints.show({"mem": "1.5G", "arch": "amd64", "cores": ""}) == "arch=amd64 mem=1536M"
