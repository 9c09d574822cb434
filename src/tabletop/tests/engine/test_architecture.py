"""Applications get machines of the architecture that is asked for, and no charm that can't run on them."""

import threading
import zipfile
from pathlib import Path

import pytest
from world import World

from tabletop.errors import TabletopError
from tabletop.version import host_architecture

OWN = host_architecture()
OTHER = "amd64" if OWN == "arm64" else "arm64"


def built(world: World, charm: str, architecture: str) -> Path:
    """Pack a test charm as one with machine code for an architecture."""
    number = {"amd64": 62, "arm64": 183}[architecture]
    path = world.charm(charm, {"manifest.yaml": f"bases: [{{architectures: [{architecture}]}}]\n"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("module.so", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + number.to_bytes(2, "little"))
    return path


def hardware(world: World) -> dict[str, str]:
    return {number: machine["hardware"].split()[0] for number, machine in world.status()["machines"].items()}


def test_a_constraint_makes_machines_of_an_architecture(world):
    world.deploy("provider", "db", constraints={"arch": OTHER})
    world.deploy("requirer", "web")
    world.controller.add_unit("m", "db")
    world.settle()
    assert hardware(world) == {"0": f"arch={OTHER}", "1": f"arch={OWN}", "2": f"arch={OTHER}"}
    assert world.machines.architectures == {"m-0": OTHER, "m-1": OWN, "m-2": OTHER}
    assert world.controller.architecture("m", app="db") == OTHER
    assert world.controller.architecture("m", constraints={"arch": OTHER}) == OTHER
    assert world.controller.architecture("m", to=["2"]) == OTHER
    assert world.controller.architecture("m") == OWN


def test_a_placement_decides_where_no_constraint_does(world):
    world.controller.add_machine("m", constraints={"arch": OTHER})
    world.deploy("provider", "db", to=["0"])
    world.controller.add_unit("m", "db")
    world.settle()
    assert hardware(world) == {"0": f"arch={OTHER}", "1": f"arch={OTHER}"}


def test_what_contradicts_itself_is_refused(world):
    world.controller.add_machine("m", constraints={"arch": OTHER})
    world.controller.add_machine("m")
    with pytest.raises(TabletopError, match=f"machine 0 is {OTHER}, and the constraint says arch={OWN}"):
        world.deploy("provider", "db", to=["0"], constraints={"arch": OWN})
    with pytest.raises(TabletopError, match="the units of an application have one architecture"):
        world.deploy("provider", "db", num_units=2, to=["0", "1"])
    for add in (
        lambda c: world.deploy("provider", "db", constraints=c),
        lambda c: world.controller.add_machine("m", 1, c),
    ):
        with pytest.raises(TabletopError, match="arch=vax: machines are amd64 or arm64"):
            add({"arch": "vax"})
    assert world.status()["applications"] == {}


def test_a_charm_with_machine_code_is_refused_elsewhere(world):
    charm = built(world, "provider", OWN)
    with pytest.raises(TabletopError, match=f"packed for {OWN} and holds machine code.* run on {OTHER}"):
        world.controller.deploy("m", str(charm), "db", constraints={"arch": OTHER})
    world.controller.deploy("m", str(charm), "db")
    world.controller.add_machine("m", constraints={"arch": OTHER})
    with pytest.raises(TabletopError, match="holds machine code"):
        world.controller.add_unit("m", "db", to=["1"])
    with pytest.raises(TabletopError, match="holds machine code"):
        world.controller.refresh("m", "db", str(built(world, "provider", OTHER)))
    world.settle()
    assert list(world.units()) == ["db/0"]


def test_the_model_s_constraints_decide_last(world):
    assert world.controller.model_constraints("m") == {}
    with pytest.raises(TabletopError, match="arch=vax"):
        world.controller.model_constraints("m", {"arch": "vax"})
    assert world.controller.model_constraints("m", {"arch": OTHER}) == {"arch": OTHER}
    world.deploy("provider", "db")
    world.deploy("requirer", "web", constraints={"arch": OWN})
    world.settle()
    world.controller.model_constraints("m", {})
    world.controller.add_unit("m", "db")
    world.controller.add_machine("m")
    world.settle()
    assert hardware(world) == {n: f"arch={a}" for n, a in {"0": OTHER, "1": OWN, "2": OTHER, "3": OWN}.items()}


def test_an_image_in_the_making_is_shown_and_keeps_nobody_waiting(world):
    world.machines.unprepared[OTHER] = threading.Event()
    world.deploy("provider", "db", num_units=3, constraints={"arch": OTHER})
    world.deploy("requirer", "web")
    world.until(lambda: world.units()["web/0"]["juju-status"]["current"] == "idle")
    machine = world.status()["machines"]["0"]["machine-status"]
    assert (machine["current"], machine["message"]) == ("pending", f"the image for {OTHER}")
    world.machines.unprepared[OTHER].set()
    world.settle()
    assert f"the image for {OTHER}" in world.log()
