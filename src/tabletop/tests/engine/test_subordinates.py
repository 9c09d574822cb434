"""Subordinate units: where they live, whom they meet, and when they come and go."""

import pytest
from world import World

from tabletop.errors import TabletopError


def below(world: World, app: str) -> dict[str, list[str]]:
    """Return the subordinates of each unit of an application."""
    units = world.status()["applications"][app]["units"]
    return {name: list(unit.get("subordinates", {})) for name, unit in units.items()}


def settle(world: World) -> None:
    """Wait until neither a unit nor a subordinate has anything to do."""

    def idle() -> bool:
        units = list(world.units().values())
        units += [one for unit in units for one in unit.get("subordinates", {}).values()]
        return all(unit["juju-status"]["current"] == "idle" for unit in units)

    world.until(idle, "every unit being idle")


@pytest.fixture
def pairs(world: World) -> World:
    """Two principals with a subordinate each."""
    world.deploy("provider", "db", num_units=2)
    world.deploy("minion", "agent")
    world.controller.integrate("m", "agent", "db:juju-info")
    world.until(lambda: all(below(world, "db").values()), "a subordinate a principal")
    settle(world)
    return world


def test_a_subordinate_has_no_units_of_its_own(world: World) -> None:
    world.deploy("minion", "agent")
    status = world.status()["applications"]["agent"]
    assert (status["units"], status["scale"], status["subordinate-to"]) == ({}, 0, [])
    with pytest.raises(TabletopError, match="application is a subordinate"):
        world.controller.add_unit("m", "agent")
    with pytest.raises(TabletopError, match="cannot use --num-units or --to"):
        world.deploy("minion", "other", to=["0"])
    with pytest.raises(TabletopError, match="constraints do not apply to subordinate"):
        world.deploy("minion", "other", constraints={"mem": "1G"})


def test_each_principal_gets_one_in_its_machine_after_it_is_installed(pairs: World) -> None:
    assert sorted(name for names in below(pairs, "db").values() for name in names) == ["agent/0", "agent/1"]
    status = pairs.status()["applications"]
    assert status["agent"]["subordinate-to"] == ["db"]
    assert status["agent"]["relations"]["host"] == [
        {"related-application": "db", "interface": "juju-info", "scope": "container"}
    ]
    for principal, (subordinate,) in below(pairs, "db").items():
        mine = status["db"]["units"][principal]["subordinates"][subordinate]
        assert "machine" not in mine
        assert mine["public-address"] == status["db"]["units"][principal]["public-address"]
        told = pairs.events(subordinate)
        assert told[0] == "install"
        assert f"host-relation-joined {principal}" in told
        every = pairs.all_events()
        assert every.index(f"{principal} install") < every.index(f"{subordinate} install")
        environment = pairs.out(subordinate, "echo $JUJU_PRINCIPAL_UNIT $JUJU_MACHINE_ID; relation-list -r host:2")
        number = status["db"]["units"][principal]["machine"]
        assert environment.split() == [principal, number, principal]
        assert not any(event.startswith("juju-info") for event in pairs.events(principal)), "an implicit endpoint"


def test_container_scoped_databags_are_between_the_pair_alone(pairs: World) -> None:
    pairs.clear()
    pairs.out("db/0", "relation-set -r juju-info:2 word=hush")
    settle(pairs)
    ((subordinate,),) = [names for principal, names in below(pairs, "db").items() if principal == "db/0"]
    (other,) = {"agent/0", "agent/1"} - {subordinate}
    assert pairs.all_events() == [f"{subordinate} host-relation-changed db/0"]
    assert pairs.out(subordinate, "relation-get -r host:2 word db/0") == "hush"
    assert pairs.out(other, "relation-list -r host:2") == "db/1"
    assert "settings not found" in pairs.refused(other, "relation-get -r host:2 word db/0")
    # Among themselves subordinates are peers as any units are.
    assert pairs.out(other, "relation-list -r minions:1") == subordinate


def test_an_explicit_endpoint_is_preferred_and_one_of_two_relations_keeps_the_unit(world: World) -> None:
    world.deploy("provider", "db")
    world.deploy("minion", "agent")
    world.controller.integrate("m", "agent", "db")
    world.until(lambda: below(world, "db")["db/0"])
    world.controller.integrate("m", "agent:host", "db:juju-info")
    settle(world)
    assert below(world, "db") == {"db/0": ["agent/0"]}
    assert set(world.status()["applications"]["agent"]["relations"]) == {"host", "watched", "minions"}
    world.clear()
    world.controller.remove_relation("m", "agent:watched", "db:db")
    world.until(lambda: "watched" not in world.status()["applications"]["agent"]["relations"])
    settle(world)
    assert below(world, "db") == {"db/0": ["agent/0"]}
    assert world.events("agent/0") == ["watched-relation-departed db/0 db/0", "watched-relation-broken db"]


def test_a_relation_that_ends_takes_the_subordinates_along_and_brings_new_ones_back(pairs: World) -> None:
    pairs.clear()
    pairs.controller.remove_relation("m", "agent", "db")
    pairs.until(lambda: not any(below(pairs, "db").values()), "no subordinates")
    settle(pairs)
    for name in ("agent/0", "agent/1"):
        told = pairs.events(name)
        assert [event.split()[0] for event in told if event.startswith("host-")] == [
            "host-relation-departed",
            "host-relation-broken",
        ]
        assert told[-2:] == ["stop", "remove"]
    assert set(pairs.units()) == {"db/0", "db/1"}
    pairs.controller.integrate("m", "agent", "db:juju-info")
    pairs.until(lambda: all(below(pairs, "db").values()))
    assert sorted(name for names in below(pairs, "db").values() for name in names) == ["agent/2", "agent/3"]


def test_a_subordinate_goes_with_its_principal_and_not_by_itself(pairs: World) -> None:
    (subordinate,) = below(pairs, "db")["db/1"]
    with pytest.raises(TabletopError, match=f'unit "{subordinate}" is a subordinate, to remove use remove-relation'):
        pairs.controller.remove_unit("m", subordinate)
    pairs.clear()
    pairs.controller.remove_unit("m", "db/1")
    pairs.until(lambda: "db/1" not in pairs.units(), "db/1 being gone")
    settle(pairs)
    gone = pairs.all_events()
    assert f"{subordinate} remove" in gone
    assert len(below(pairs, "db")["db/0"]) == 1
    assert pairs.out("db/0", "relation-list -r juju-info:2") == below(pairs, "db")["db/0"][0]
    pairs.until(lambda: len(pairs.status()["machines"]) == 1)


def test_a_new_principal_gets_one_and_forced_removal_leaves_none(pairs: World) -> None:
    pairs.controller.add_unit("m", "db")
    pairs.until(lambda: below(pairs, "db").get("db/2"), "a subordinate of db/2")
    settle(pairs)
    pairs.controller.remove_unit("m", "db/2", force=True)
    assert set(below(pairs, "db")) == {"db/0", "db/1"}
    pairs.controller.remove_application("m", "agent")
    pairs.until(lambda: "agent" not in pairs.status()["applications"], "agent being gone")
    settle(pairs)
    assert not any(below(pairs, "db").values())


def test_two_principal_applications_keep_apart(pairs: World) -> None:
    pairs.deploy("requirer", "app")
    pairs.controller.integrate("m", "agent", "app:juju-info")
    pairs.until(lambda: below(pairs, "app")["app/0"], "a subordinate of app/0")
    settle(pairs)
    (third,) = below(pairs, "app")["app/0"]
    assert pairs.status()["applications"]["agent"]["subordinate-to"] == ["app", "db"]
    assert pairs.out(third, "relation-ids host").split() == ["host:3"] or pairs.out(third, "relation-list -r host:2")
    created = [event for event in pairs.events(third) if event.startswith("host-relation-created")]
    assert created == ["host-relation-created app"]


def test_container_scope_between_principals_is_refused(world: World) -> None:
    world.deploy("provider", "db")
    contained = "name: inner\nrequires:\n  db: {interface: testdb, scope: container}\n"
    world.controller.deploy("m", str(world.charm("requirer", {"metadata.yaml": contained})), "inner")
    with pytest.raises(TabletopError, match="container scope needs at least one subordinate"):
        world.controller.integrate("m", "inner:db", "db:db")


def test_subordinates_survive_the_daemon(pairs: World) -> None:
    before = below(pairs, "db")
    pairs.restart()
    settle(pairs)
    pairs.clear()
    assert below(pairs, "db") == before
    pairs.out("db/0", "relation-set -r juju-info:2 word=again")
    settle(pairs)
    assert pairs.all_events() == [f"{before['db/0'][0]} host-relation-changed db/0"]
