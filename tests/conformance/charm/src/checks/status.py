"""Status, leadership, the workload's version, the log."""

import ops
from ops import hookcmds
from ops.hookcmds import UnitStatus

from checks.registry import Setting, check, equal, expect, refused


@check("status_set", "status_get")
def status_of_the_unit(setting: Setting) -> None:
    for word in ("maintenance", "blocked", "waiting", "active"):
        hookcmds.status_set(word, f"-{word}: with a dash")
        equal(hookcmds.status_get(), UnitStatus(status=word, message=f"-{word}: with a dash", status_data={}))
    hookcmds.status_set("active")
    equal(hookcmds.status_get(), UnitStatus(status="active", message="", status_data={}))
    refused('invalid status "fine", expected one of [maintenance blocked waiting active]', hookcmds.status_set, "fine")
    refused('invalid status "error"', hookcmds.status_set, "error")


@check("status_set", "status_get", roles=("leader", "other"))
def status_of_the_application(setting: Setting) -> None:
    hookcmds.status_set("active", "all is well", app=True)
    found = hookcmds.status_get(app=True)
    equal((found.status, found.message, found.status_data), ("active", "all is well", {}))
    # Juju has the units in another place than ops looks for them.
    equal(found.units, {})
    setting.charm.app.status = ops.ActiveStatus("by ops")
    equal(setting.charm.app.status, ops.ActiveStatus("by ops"))


@check("status_set", "status_get", roles=("follower",))
def status_of_the_application_for_a_follower(setting: Setting) -> None:
    error = refused("this unit is not the leader", hookcmds.status_set, "active", app=True)
    equal(error.stderr, "ERROR this unit is not the leader\n")
    error = refused("this unit is not the leader", hookcmds.status_get, app=True)
    equal(error.stderr, "ERROR finding application status: this unit is not the leader\n")


@check("is_leader")
def is_leader(setting: Setting) -> None:
    equal(hookcmds.is_leader(), setting.place.role != "follower")
    equal(setting.charm.unit.is_leader(), setting.place.role != "follower")


@check("app_version_set")
def app_version_set(setting: Setting) -> None:
    hookcmds.app_version_set("-1.0 with a dash")
    setting.charm.unit.set_workload_version("1.0")


@check("juju_log")
def juju_log(setting: Setting) -> None:
    for level in ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR"):
        hookcmds.juju_log(f"-conformance {level}", level=level)
    hookcmds.juju_log("conformance of a level that is none", level="LOUD")


@check("goal_state")
def goal_state(setting: Setting) -> None:
    place = setting.place
    found = hookcmds.goal_state()
    equal(sorted(found.units), sorted((place.unit, *place.peers)))
    goals = found.relations[place.endpoint]
    expect(place.remote_app in goals and place.remote_unit in goals, str(goals))
    equal(goals[place.remote_app].status, "joined")
    expect(
        all(goal.since.tzinfo is not None for goal in (*goals.values(), *found.units.values())), "a time without a zone"
    )
    equal(sorted(found.relations), [place.endpoint])
    equal(setting.charm.app.planned_units(), 1 + len(place.peers))
