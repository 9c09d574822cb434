"""Relations and their databags."""

from ops import RelationNotFoundError, hookcmds

from checks.registry import Setting, check, equal, expect, refused

_GONE = 'invalid value "999" for option -r: relation not found'


@check("relation_ids")
def relation_ids(setting: Setting) -> None:
    place = setting.place
    equal(hookcmds.relation_ids(place.endpoint), [f"{place.endpoint}:{place.relation}"])
    equal(hookcmds.relation_ids("in" if place.endpoint == "out" else "out"), [])
    equal(hookcmds.relation_ids("attic"), [])
    equal(setting.model.relations[place.endpoint][0].id, place.relation)


@check("relation_list")
def relation_list(setting: Setting) -> None:
    place = setting.place
    units = hookcmds.relation_list(place.relation)
    expect(place.remote_unit in units and all(name.startswith(f"{place.remote_app}/") for name in units), str(units))
    equal(hookcmds.relation_list(place.relation, app=True), place.remote_app)
    equal(tuple(hookcmds.relation_list(place.ring, endpoint="ring")), place.peers)
    equal(refused(_GONE, hookcmds.relation_list, 999).returncode, 2)
    refused("relation not found", hookcmds.relation_list, place.relation, endpoint="ring")
    refused("no relation id specified", hookcmds.relation_list)


@check("relation_get")
def relation_get(setting: Setting) -> None:
    place = setting.place
    data = hookcmds.relation_get(place.relation, unit=place.remote_unit)
    expect({"ingress-address", "egress-subnets", "private-address", "who"} <= set(data), str(data))
    equal(data["odd"], "a=b\nc: <&>")
    equal(hookcmds.relation_get(place.relation, unit=place.remote_unit, key="who"), place.remote_unit)
    equal(hookcmds.relation_get(place.relation, unit=place.remote_unit, key="attic"), None)
    equal(hookcmds.relation_get(place.relation, unit=place.remote_app, app=True)["who"], place.remote_app)
    # A unit's name will do for its application's.
    equal(hookcmds.relation_get(place.relation, unit=place.remote_unit, app=True)["who"], place.remote_app)
    equal(hookcmds.relation_get(place.relation, unit=place.unit)["who"], place.unit)
    refused(_GONE, hookcmds.relation_get, 999, unit=place.remote_unit)
    refused("expected unit name, got application name", hookcmds.relation_get, place.relation, unit=place.remote_app)
    refused("invalid unit name", hookcmds.relation_get, place.relation, unit="Attic/0")
    refused("no unit or application specified", hookcmds.relation_get, place.relation)
    refused("settings not found", hookcmds.relation_get, place.relation, unit=f"{place.remote_app}/99")
    refused("permission denied", hookcmds.relation_get, place.relation, unit="attic/0")
    refused("permission denied", hookcmds.relation_get, place.relation, unit="attic", app=True)


@check("relation_get", roles=("leader", "follower"))
def own_databags(setting: Setting) -> None:
    place = setting.place
    # Among peers every unit reads the application's databag; towards others only the leader does.
    equal(hookcmds.relation_get(place.ring, unit=place.app, app=True)["who"], place.app)
    if place.role == "leader":
        equal(hookcmds.relation_get(place.relation, unit=place.app, app=True)["who"], place.app)
    else:
        error = refused("permission denied", hookcmds.relation_get, place.relation, unit=place.app, app=True)
        equal((error.stderr, error.returncode), ("ERROR permission denied\n", 1))


@check("relation_set")
def relation_set(setting: Setting) -> None:
    place = setting.place
    hookcmds.relation_set({"mine": "once", "other": "kept"}, place.ring, endpoint="ring")
    hookcmds.relation_set({"mine": ""}, place.ring)
    data = hookcmds.relation_get(place.ring, unit=place.unit)
    expect("mine" not in data and data["other"] == "kept", str(data))
    refused(_GONE, hookcmds.relation_set, {"a": "b"}, 999)
    refused("no relation id specified", hookcmds.relation_set, {"a": "b"})


@check("relation_set", roles=("follower",))
def relation_set_of_a_follower(setting: Setting) -> None:
    for relation in (setting.place.relation, setting.place.ring):
        error = refused("cannot write relation settings", hookcmds.relation_set, {"a": "b"}, relation, app=True)
        equal((error.stderr, error.returncode), ("ERROR cannot write relation settings\n", 1))


@check("relation_model_get")
def relation_model_get(setting: Setting) -> None:
    place = setting.place
    found = hookcmds.relation_model_get(place.relation)
    equal(found, hookcmds.RelationModel(uuid=setting.model.uuid))
    equal(setting.model.relations[place.endpoint][0].remote_model.uuid, setting.model.uuid)
    refused(_GONE, hookcmds.relation_model_get, 999)


@check("relation_list", "relation_get", "relation_model_get")
def a_relation_that_is_gone_is_known_to_ops(setting: Setting) -> None:
    relation = setting.model.get_relation(setting.place.endpoint, 999)
    expect(relation is not None, "no object for a relation that isn't there")
    equal(relation.app, None)
    equal(relation.units, set())
    try:
        uuid = relation.remote_model.uuid
    except RelationNotFoundError:
        return
    raise AssertionError(f"the model of no relation is {uuid}")
