"""Secrets: grants, revisions, labels, events."""

import json
import stat
import time
from datetime import UTC, datetime

import pytest
from world import World

from tabletop.engine.rotation import next_rotation
from tabletop.errors import TabletopError


@pytest.fixture
def related(world: World) -> World:
    world.deploy("provider", "db", num_units=2)
    world.deploy("requirer", "app", num_units=2)
    world.controller.integrate("m", "app:db", "db")
    world.settle()
    world.clear()
    return world


def add(world: World, *, grant: str = ":") -> str:
    script = "id=$(secret-add --label password --description about password=one)"
    return world.out("db/0", f"{script}; {grant}; echo $id")


def test_a_secret_is_read_after_it_is_granted_and_not_after_it_is_revoked(related: World) -> None:
    world = related
    uri = add(world)
    assert uri == f"secret://{world.controller._model('m').uuid}/{uri.rpartition('/')[2]}"
    assert world.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"
    world.out("db/0", f"secret-grant --relation 1 {uri}")
    assert json.loads(world.out("app/0", f"secret-get --format json {uri}")) == {"password": "one"}
    world.out("db/0", f"secret-revoke --relation 1 {uri}")
    assert world.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"


def test_what_a_hook_revokes_the_other_side_reads_until_the_hook_has_succeeded(related: World) -> None:
    world = related
    uri = add(world, grant="secret-grant --relation 1 $id")
    world.behave("db-0", "config-changed", f"secret-revoke --relation 1 {uri}; [ -e {world.directory}/go ]")
    world.controller.set_config("m", "db", {"port": "7"})
    world.until(lambda: world.units()["db/0"]["workload-status"]["current"] == "error")
    assert world.out("app/0", f"secret-get {uri} password") == "one"
    (world.directory / "go").touch()
    world.settle_well()
    assert world.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"


def test_a_grant_to_one_unit_is_not_one_to_the_other(related: World) -> None:
    uri = add(related, grant="secret-grant --relation db:1 --unit app/1 $id")
    assert related.out("app/1", f"secret-get {uri} password") == "one"
    assert related.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"


def test_a_grant_ends_with_its_relation(related: World) -> None:
    world = related
    uri = add(world, grant="secret-grant --relation 1 $id")
    world.out("app/0", f"secret-get {uri}")
    world.controller.remove_relation("m", "app", "db")
    world.settle()
    assert world.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"


def test_readers_follow_a_revision_are_told_of_a_new_one_and_peek_or_refresh(related: World) -> None:
    world = related
    uri = add(world, grant="secret-grant --relation 1 $id")
    assert world.out("app/0", f"secret-get {uri} --label mine password") == "one"
    world.out("db/0", f"secret-set {uri} password=two")
    world.settle()
    assert world.events("app/0") == ["secret-changed"]
    assert world.events("app/1") == [], "it never read the secret"
    assert world.out("app/0", "secret-get --label mine --format json") == '{"password":"one"}'
    assert world.out("app/0", f"secret-get {uri} --peek password") == "two"
    assert world.out("app/0", f"secret-get {uri} password") == "one"
    assert world.out("app/0", f"secret-get {uri} --refresh password") == "two"
    assert world.out("app/0", f"secret-get {uri} password") == "two"
    world.settle()
    assert world.events("app/0") == ["secret-changed"]
    assert world.events("db/0") == ["secret-remove"], "nobody follows the first revision any more"
    world.out("db/0", f"secret-remove --revision 1 {uri}; secret-set {uri} password=two")
    world.settle()
    assert json.loads(world.out("db/0", f"secret-info-get {uri} --format json"))[uri.rpartition("/")[2]] == {
        "revision": 2,
        "label": "password",
        "owner": "application",
        "rotation": "never",
        "description": "about",
        "access": [{"target": "application-app", "scope": "relation-app.db#db.db", "role": "view"}],
    }


def test_only_the_leader_manages_what_the_application_owns_and_peers_may_read_it(related: World) -> None:
    world = related
    uri = add(world)
    assert world.out("db/1", f"secret-get {uri} password") == "one"
    key = uri.rpartition("/")[2]
    assert world.refused("db/1", f"secret-set {uri} password=two") == '"db/1" is not leader of "db"'
    assert world.refused("db/1", f"secret-grant {uri} -r 1") == f'ERROR secret "{key}" not found'
    assert world.refused("db/1", f"secret-info-get {uri}") == f'ERROR secret "{key}" not found'
    assert world.refused("db/1", "secret-add password=x") == "ERROR this unit is not the leader"
    assert world.refused("app/0", f"secret-remove {uri}") == "permission denied"
    assert world.refused("app/0", f"secret-info-get {uri}") == f'ERROR secret "{key}" not found'
    own = world.out("db/1", "secret-add --owner unit --label own password=x")
    assert world.out("db/1", "secret-get --label own --format json") == '{"password":"x"}'
    assert json.loads(world.out("db/1", "secret-ids --format json")) == [own.rpartition("/")[2]]
    assert world.refused("db/0", "secret-add --label password password=x") == (
        'secret with label "password" already exists'
    )


def test_what_is_not_there_or_makes_no_sense_is_refused(related: World) -> None:
    assert 'secret "9m4e2mr0ui3e8a215n4g" not found' in related.refused(
        "app/0", "secret-get secret:9m4e2mr0ui3e8a215n4g"
    )
    assert 'secret URI "password" not valid' in related.refused("app/0", "secret-get --label nope password")
    assert "require either a secret URI or label" in related.refused("app/0", "secret-get")
    assert "not found" in related.refused("app/0", "secret-get --label nope")
    assert "rotate policy" in related.refused("db/0", "secret-add --rotate often abc=b")
    assert "relation not found" in related.refused("db/0", "id=$(secret-add abc=b); secret-grant --relation 99 $id")
    uri = add(related)
    related.out("db/0", f"secret-remove {uri}")
    assert "not found" in related.refused("db/0", f"secret-get {uri}")


def test_big_values_files_and_base64(related: World) -> None:
    world = related
    uri = world.out("db/0", "head -c 100000 /dev/zero | tr '\\0' x > big; secret-add big#file=big code#base64=aGVsbG8=")
    assert world.out("db/0", f"secret-get {uri} big | wc -c") == "100001"
    assert world.out("db/0", f"secret-get {uri} code") == "hello"
    assert world.out("db/0", f"secret-get {uri} code#base64") == "aGVsbG8="


def test_an_expired_revision_is_told_of_until_it_is_removed(related: World) -> None:
    world = related
    uri = world.out("db/0", "secret-add --expire 100ms password=one")
    world.until(lambda: world.events("db/0").count("secret-expired") == 2, "secret-expired, again after a while")
    world.behave("db-0", "secret-expired", 'secret-remove "$JUJU_SECRET_ID" --revision "$JUJU_SECRET_REVISION"')
    world.until(lambda: world.controller.secrets("m") == {}, "the secret gone with its only revision")
    assert "not found" in world.refused("db/0", f"secret-get {uri}")


def test_a_secret_that_is_due_is_rotated_and_told_of_until_it_is(related: World) -> None:
    world = related
    uri = world.out("db/0", "secret-add --rotate hourly --label pass password=one")
    key = uri.rpartition("/")[2]

    def due() -> float:
        info = json.loads(world.out("db/0", f"secret-info-get {uri} --format json"))[key]
        assert info["rotation"] == "hourly"
        return datetime.fromisoformat(info["rotates"]).timestamp() - time.time()

    assert 3500 < due() <= 3600
    world.rewind_rotation(key)
    world.until(lambda: world.events("db/0").count("secret-rotate") >= 2, "told again: nothing was rotated")
    world.behave("db-0", "secret-rotate", 'secret-set "$JUJU_SECRET_ID" password=two')
    world.until(lambda: due() > 3500, "due in an hour again")
    assert world.out("db/0", f"secret-get {uri} --refresh password") == "two"
    world.settle()
    world.clear()
    world.out("db/0", f"secret-set {uri} --rotate never")
    assert "rotates" not in world.out("db/0", f"secret-info-get {uri}")


def test_a_unit_that_refreshes_what_it_has_just_changed_follows_it(related: World) -> None:
    world = related
    uri = add(world)
    assert world.out("db/0", f"secret-get {uri} password") == "one"
    assert world.out("db/0", f"secret-set {uri} password=two; secret-get {uri} password") == "one"
    assert world.out("db/0", f"secret-set {uri} password=three; secret-get {uri} --refresh password") == "three"
    assert world.out("db/0", f"secret-get {uri} password") == "three"


def test_an_owner_s_label_serves_all_of_its_units_and_can_be_changed_by_reading(related: World) -> None:
    world = related
    uri = add(world)
    assert world.out("db/1", f"secret-get {uri} --label mine password") == "one"
    assert 'consumer label "mine" not found' in world.refused("db/1", "secret-get --label mine")
    assert world.out("db/1", "secret-get --label password") == "password: one"
    assert world.out("db/0", f"secret-get {uri} --label other password") == "one"
    assert world.out("db/1", "secret-get --label other") == "password: one"


def test_an_operator_adds_grants_and_updates_a_secret(related: World) -> None:
    world, controller = related, related.controller
    uri = controller.add_secret("m", "mine", {"token": "t1"}, "about it")
    assert world.refused("app/0", f"secret-get {uri}") == "ERROR permission denied"
    controller.grant_secret("m", "mine", "app")
    assert world.out("app/0", f"secret-get {uri} token") == "t1"
    controller.update_secret("m", "mine", {"token": "t2"})
    world.settle()
    assert world.events("app/0") == ["secret-changed"]
    shown = next(iter(controller.show_secret("m", uri, reveal=True).values()))
    assert (shown["content"], shown["name"], shown["owner"]) == ({"token": "t2"}, "mine", "<model>")
    assert "content" not in next(iter(controller.show_secret("m", uri).values()))
    with pytest.raises(TabletopError, match="already exists"):
        controller.add_secret("m", "mine", {"token": "x"})
    controller.remove_secret("m", "mine")
    assert controller.secrets("m") == {}


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("update_secret", {"content": {"password": "two"}}),
        ("update_secret", {"name": "mine"}),
        ("remove_secret", {}),
        ("remove_secret", {"revision": 1}),
        ("grant_secret", {"app": "app"}),
        ("revoke_secret", {"app": "app"}),
    ],
)
def test_an_operator_sees_a_charm_s_secret_and_changes_nothing_of_it(
    related: World, method: str, params: dict[str, object]
) -> None:
    controller = related.controller
    uri = add(related, grant="secret-grant --relation 1 $id")
    before = controller.show_secret("m", uri, reveal=True)
    assert next(iter(before.values()))["content"] == {"password": "one"}
    with pytest.raises(TabletopError, match=r'permission denied: secret "[0-9a-v]{20}" is owned by application db'):
        getattr(controller, method)("m", uri, **params)
    assert controller.show_secret("m", uri, reveal=True) == before


def test_the_database_is_for_root_alone(related: World) -> None:
    add(related)
    directory = related.directory / "state" / "models" / "m"
    assert stat.S_IMODE((related.directory / "state" / "models").stat().st_mode) == 0o700
    for path in directory.glob("*.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_revisions_of_an_operator_s_secret_are_listed_pruned_and_removed(related: World) -> None:
    controller = related.controller
    uri = controller.add_secret("m", "mine", {"token": "1"})
    controller.grant_secret("m", uri, "app")
    related.out("app/0", f"secret-get {uri}")
    for token in "234":
        controller.update_secret("m", "mine", {"token": token}, info="about", name="ours")
        controller.update_secret("m", "ours", name="mine")
    revisions = next(iter(controller.show_secret("m", uri, revisions=True).values()))["revisions"]
    assert [one["revision"] for one in revisions] == [1, 2, 3, 4]
    controller.update_secret("m", "mine", {"token": "5"}, auto_prune=True)
    shown = next(iter(controller.show_secret("m", uri, revisions=True).values()))
    assert [one["revision"] for one in shown["revisions"]] == [1, 5], "app/0 follows the first"
    assert shown["access"][0]["target"] == "application-app"
    old = next(iter(controller.show_secret("m", uri, reveal=True, revision=1).values()))
    assert (old["revision"], old["content"]) == (1, {"token": "1"})
    controller.remove_secret("m", "mine", revision=1)
    with pytest.raises(TabletopError, match="not found"):
        controller.show_secret("m", uri, reveal=True, revision=1)
    controller.revoke_secret("m", "mine", "app")
    assert related.refused("app/0", f"secret-get {uri} --peek") == "ERROR permission denied"
    controller.add_secret("m", "other", {"token": "1"})
    with pytest.raises(TabletopError, match="already exists"):
        controller.update_secret("m", "other", name="mine")
    with pytest.raises(TabletopError, match="needs content"):
        controller.add_secret("m", "empty", {})
    with pytest.raises(TabletopError, match="not found"):
        controller.show_secret("m", "gone")


@pytest.mark.parametrize(
    ("policy", "since", "due"),
    [
        ("never", "2026-01-31", None),
        ("hourly", "2026-01-31", "2026-01-31T01:00"),
        ("daily", "2026-01-31", "2026-02-01"),
        ("weekly", "2026-01-31", "2026-02-07"),
        ("monthly", "2026-01-31", "2026-03-03"),
        ("monthly", "2026-12-15", "2027-01-15"),
        ("quarterly", "2026-11-30", "2027-03-02"),
        ("yearly", "2024-02-29", "2025-03-01"),
    ],
)
def test_when_a_secret_is_rotated_next(policy: str, since: str, due: str | None) -> None:
    def moment(text: str) -> float:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    assert next_rotation(policy, moment(since)) == (None if due is None else moment(due))
