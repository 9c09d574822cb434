"""Secrets: content, revisions, attributes, grants."""

import datetime

import ops
from ops import hookcmds

from checks.registry import Setting, check, equal, expect, refused

_NOBODY_S = "secret:9m4e2mr0ui3e8a215n4g"
_MISSING = 'secret "9m4e2mr0ui3e8a215n4g" not found'
_POLICIES: tuple[hookcmds.SecretRotate, ...] = ("never", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly")


def _plain(uri: str) -> str:
    return uri.rpartition("/")[2].removeprefix("secret:")


@check("secret_add", "secret_get", "secret_info_get", "secret_remove", "secret_ids")
def a_secret_before_it_is_committed(setting: Setting) -> None:
    expire = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=2)
    uri = hookcmds.secret_add(
        {"word": "new", "other-word": "two\nlines"},
        label="draft",
        description="why",
        expire=expire,
        rotate="daily",
        owner="unit",
    )
    equal(uri, f"secret://{setting.model.uuid}/{_plain(uri)}")
    content = {"word": "new", "other-word": "two\nlines"}
    equal(hookcmds.secret_get(id=uri), content)
    equal(hookcmds.secret_get(label="draft"), content)
    info = hookcmds.secret_info_get(id=uri)
    equal((info.id, info.revision, info.label, info.description), (_plain(uri), 1, "draft", "why"))
    equal((info.rotation, info.expiry), ("daily", expire))
    expect(_plain(uri) in hookcmds.secret_ids(), "not among secret-ids")
    refused('secret with label "draft" already exists', hookcmds.secret_add, {"word": "x"}, label="draft", owner="unit")
    hookcmds.secret_remove(uri)
    expect(_plain(uri) not in hookcmds.secret_ids(), "still among secret-ids")
    refused("not found", hookcmds.secret_get, id=uri)


@check("secret_add")
def what_a_secret_can_not_be(setting: Setting) -> None:
    refused('key "ab" not valid', hookcmds.secret_add, {"ab": "too short"}, owner="unit")
    refused('key "Abc" not valid', hookcmds.secret_add, {"Abc": "a capital"}, owner="unit")
    refused("missing secret value or filename", hookcmds.secret_add, {}, owner="unit")
    refused('rotate policy "often" not valid', hookcmds.secret_add, {"word": "x"}, rotate="often", owner="unit")
    refused('expire time or duration "soon" not valid', hookcmds.secret_add, {"word": "x"}, expire="soon", owner="unit")
    refused('negative expire duration "-1h" not valid', hookcmds.secret_add, {"word": "x"}, expire="-1h", owner="unit")
    refused('secret owner "nobody" not valid', hookcmds.secret_add, {"word": "x"}, owner="nobody")


@check("secret_add", roles=("follower",))
def secret_add_of_a_follower(setting: Setting) -> None:
    error = refused("this unit is not the leader", hookcmds.secret_add, {"word": "x"})
    equal((error.stderr, error.returncode), ("ERROR this unit is not the leader\n", 1))


@check("secret_info_get", "secret_set", "secret_add", "secret_remove")
def every_way_to_rotate(setting: Setting) -> None:
    for policy in _POLICIES:
        uri = hookcmds.secret_add({"word": policy}, owner="unit", rotate=policy)
        equal(hookcmds.secret_info_get(id=uri).rotation, policy)
        hookcmds.secret_remove(uri)


@check("secret_get")
def secret_get_of_what_was_granted(setting: Setting) -> None:
    place = setting.place
    ids = hookcmds.relation_get(place.relation, unit=place.remote_app, app=True)
    equal(hookcmds.secret_get(id=ids["granted"], label="theirs"), {"word": "granted"})
    equal(hookcmds.secret_get(label="theirs", peek=True), {"word": "granted"})
    equal(hookcmds.secret_get(id=_plain(ids["granted"]), refresh=True), {"word": "granted"})
    equal(setting.model.get_secret(label="theirs").get_content(), {"word": "granted"})
    # The one for a single unit is granted to the first.
    if place.unit.endswith("/0"):
        equal(hookcmds.secret_get(id=ids["personal"]), {"word": "personal"})
    else:
        refused("permission denied", hookcmds.secret_get, id=ids["personal"])
    error = refused("permission denied", hookcmds.secret_get, id=ids["private"])
    equal((error.stderr, error.returncode), ("ERROR permission denied\n", 1))
    equal(refused(_MISSING, hookcmds.secret_get, id=_NOBODY_S).returncode, 1)
    refused('consumer label "attic" not found', hookcmds.secret_get, label="attic")
    refused('secret URI "attic" not valid', hookcmds.secret_get, id="attic")
    refused("require either a secret URI or label", hookcmds.secret_get)
    refused(
        "specify one of --peek or --refresh but not both", hookcmds.secret_get, id=_NOBODY_S, peek=True, refresh=True
    )


@check("secret_info_get", "secret_get", "secret_ids", "secret_set")
def a_secret_that_is_committed(setting: Setting) -> None:
    place = setting.place
    if not setting.charm.unit.is_leader():
        # A follower reads what its application owns by the owner's label, and manages nothing of it.
        equal(hookcmds.secret_get(label="granted"), {"word": "granted"})
        equal(hookcmds.secret_ids(), [])
        refused('secret "granted" not found', hookcmds.secret_info_get, label="granted")
        return
    info = hookcmds.secret_info_get(label="granted")
    expect(info.revision >= 1 and info.rotation == "never", str(info))
    expect(info.id in hookcmds.secret_ids(), "not among secret-ids")
    equal(hookcmds.secret_get(label="granted"), {"word": "granted"})
    kept = hookcmds.secret_info_get(label="kept").id
    before = hookcmds.secret_get(id=kept)
    fresh = {"word": f"{before['word']}+"}
    hookcmds.secret_set(kept, content=fresh, description="changed", owner="unit")
    equal(hookcmds.secret_get(id=kept), before)
    equal(hookcmds.secret_get(id=kept, peek=True), fresh)
    equal(hookcmds.secret_get(id=kept, refresh=True), fresh)
    equal(hookcmds.secret_info_get(id=kept).description, "changed")
    expect(place.role in ("leader", "other"), place.role)


@check("secret_info_get", "secret_set", "secret_remove", "secret_grant", "secret_revoke")
def secrets_that_are_not_there(setting: Setting) -> None:
    place = setting.place
    equal(refused(_MISSING, hookcmds.secret_info_get, id=_NOBODY_S).returncode, 1)
    refused('secret "attic" not found', hookcmds.secret_info_get, label="attic")
    refused("require either a secret URI or label", hookcmds.secret_info_get)
    refused("but not both", hookcmds.secret_info_get, id=_NOBODY_S, label="attic")
    refused(_MISSING, hookcmds.secret_grant, _NOBODY_S, place.relation)
    refused('secret URI "attic" not valid', hookcmds.secret_set, "attic", content={"word": "x"})
    refused('secret URI "attic" not valid', hookcmds.secret_remove, "attic")
    refused('secret URI "attic" not valid', hookcmds.secret_grant, "attic", place.relation)
    refused('secret URI "attic" not valid', hookcmds.secret_revoke, "attic", relation_id=place.relation)
    private = hookcmds.relation_get(place.relation, unit=place.remote_app, app=True)["private"]
    refused(f'secret "{_plain(private)}" not found', hookcmds.secret_grant, private, place.relation)
    refused(f'secret "{_plain(private)}" not found', hookcmds.secret_info_get, id=private)


@check("secret_grant", "secret_revoke", "secret_add", "secret_remove")
def grants(setting: Setting) -> None:
    place = setting.place
    uri = hookcmds.secret_add({"word": "x"}, owner="unit")
    hookcmds.secret_grant(uri, place.relation, unit=place.remote_unit)
    refused("any unit level grants need to be revoked", hookcmds.secret_grant, uri, place.relation)
    hookcmds.secret_revoke(uri, relation_id=None, unit=place.remote_unit)
    hookcmds.secret_grant(uri, place.relation)
    hookcmds.secret_revoke(uri, relation_id=place.relation)
    hookcmds.secret_revoke(uri, relation_id=None, app=place.remote_app)
    refused("relation not found", hookcmds.secret_grant, uri, 999)
    refused(
        f'cannot specify unit "{place.unit}" in relation to application "{place.remote_app}"',
        hookcmds.secret_grant,
        uri,
        place.relation,
        unit=place.unit,
    )
    refused("missing relation or application or unit", hookcmds.secret_revoke, uri, relation_id=None)
    refused("do not specify both relation and app", hookcmds.secret_revoke, uri, relation_id=place.relation, app="a")
    refused(
        "specify only one of application or unit", hookcmds.secret_revoke, uri, relation_id=None, app="a", unit="b/0"
    )
    hookcmds.secret_remove(uri)


@check("secret_add", "secret_get", "secret_info_get", "secret_set", "secret_grant", "secret_revoke", "secret_remove")
def secrets_as_ops_has_them(setting: Setting) -> None:
    place, model = setting.place, setting.model
    secret = setting.charm.unit.add_secret(
        {"word": "new"}, label="by-ops", description="why", rotate=ops.SecretRotate.MONTHLY
    )
    relation = model.relations[place.endpoint][0]
    secret.grant(relation)
    secret.set_info(description="because")
    info = model.get_secret(label="by-ops").get_info()
    equal((info.label, info.description, info.rotation), ("by-ops", "because", ops.SecretRotate.MONTHLY))
    secret.set_content({"word": "newer"})
    equal(secret.peek_content(), {"word": "newer"})
    secret.revoke(relation)
    secret.remove_all_revisions()
    ids = relation.data[relation.app]
    _raises(ops.SecretNotFoundError, model.get_secret, id=_NOBODY_S)
    _raises(ops.SecretNotFoundError, model.get_secret, label="attic")
    _raises(ops.ModelError, model.get_secret, id=ids["private"])


def _raises(kind: type[Exception], function: object, **kwargs: str) -> None:
    try:
        function(**kwargs)  # type: ignore[operator]
    except kind as error:
        equal(type(error), kind)
        return
    raise AssertionError(f"{kind.__name__} was not raised")
