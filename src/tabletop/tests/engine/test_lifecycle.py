"""The order of events, as pure functions."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tabletop.engine.lifecycle import Event, Local, Remote, RemoteRelation, acknowledge, is_dead, next_event

DB = RemoteRelation("db", "db")


def deliver(local: Local, remote: Remote, limit: int = 200) -> tuple[Local, list[str]]:
    """Deliver events until there are none left; return them as `hook remote`."""
    told: list[str] = []
    for _ in range(limit):
        event = next_event(local, remote)
        if event is None:
            return local, told
        told.append(" ".join(filter(None, (event.hook_name, event.remote_unit or event.remote_app))))
        local = acknowledge(local, event)
    raise AssertionError(f"it never ends: {told[-5:]}")


def settled(remote: Remote) -> Local:
    return deliver(Local(), remote)[0]


def test_a_new_unit_gets_storage_install_relations_leadership_config_start() -> None:
    remote = Remote("app/0", leader=True, storage=("data/0",), relations={0: RemoteRelation("peers", "app"), 1: DB})
    assert deliver(Local(), remote)[1] == [
        "data-storage-attached",
        "install",
        "peers-relation-created app",
        "db-relation-created db",
        "leader-elected",
        "config-changed",
        "start",
    ]


def test_a_new_unit_that_does_not_lead_is_told_of_the_leader_s_settings_even_if_there_are_none() -> None:
    remote = Remote("app/1", relations={0: RemoteRelation("peers", "app")})
    local, told = deliver(Local(), remote)
    assert told == ["install", "peers-relation-created app", "leader-settings-changed", "config-changed", "start"]
    assert deliver(local, replace(remote, leader_settings=1))[1] == ["leader-settings-changed"]
    assert deliver(local, replace(remote, leader_settings=1, leader=True))[1] == ["leader-elected"]


def test_joined_and_changed_come_together_unit_by_unit_in_the_order_of_their_numbers() -> None:
    members = {"db/10": 1, "db/2": 1}
    before = Remote("app/0", relations={1: DB})
    after = replace(before, relations={1: replace(DB, members=members)})
    assert deliver(settled(before), after)[1] == [
        "db-relation-joined db/2",
        "db-relation-changed db/2",
        "db-relation-joined db/10",
        "db-relation-changed db/10",
    ]


def test_a_change_is_told_once_however_often_it_came() -> None:
    before = Remote("app/0", config=3, relations={1: replace(DB, members={"db/0": 1})})
    after = replace(before, config=7, relations={1: replace(DB, members={"db/0": 9}, app_version=4)})
    assert deliver(settled(before), after)[1] == [
        "config-changed",
        "db-relation-changed db",
        "db-relation-changed db/0",
    ]


def test_a_change_during_a_hook_is_told_again() -> None:
    remote = Remote("app/0", relations={1: replace(DB, members={"db/0": 1})})
    local = settled(remote)
    changed = replace(remote, relations={1: replace(DB, members={"db/0": 2})})
    event = next_event(local, changed)
    assert event is not None
    local = acknowledge(local, event)
    again = replace(remote, relations={1: replace(DB, members={"db/0": 3})})
    assert deliver(local, again)[1] == ["db-relation-changed db/0"]


def test_a_departed_unit_and_one_that_joins() -> None:
    before = Remote("app/0", relations={1: replace(DB, members={"db/0": 1})})
    after = replace(before, relations={1: replace(DB, members={"db/1": 1})})
    assert deliver(settled(before), after)[1] == [
        "db-relation-departed db/0",
        "db-relation-joined db/1",
        "db-relation-changed db/1",
    ]


def test_an_ending_relation_departs_and_breaks_while_the_unit_lives_on() -> None:
    before = Remote("app/0", relations={1: replace(DB, members={"db/0": 1, "db/1": 1})})
    after = replace(before, relations={1: replace(DB, dying=True)})
    local, told = deliver(settled(before), after)
    assert told == ["db-relation-departed db/0", "db-relation-departed db/1", "db-relation-broken db"]
    assert next_event(local, replace(before, relations={})) is None


def test_the_departing_unit_is_the_remote_one_or_itself_when_it_goes() -> None:
    before = Remote("app/0", relations={1: replace(DB, members={"db/0": 1})})
    local = settled(before)
    theirs = next_event(local, replace(before, relations={1: DB}))
    ours = next_event(local, replace(before, dying=True))
    assert theirs is not None
    assert theirs.departing_unit == "db/0"
    assert ours is not None
    assert (ours.kind, ours.departing_unit) == ("relation-departed", "app/0")


def test_a_unit_that_goes_leaves_storage_relations_then_stops() -> None:
    before = Remote("app/0", storage=("data/0",), relations={1: replace(DB, members={"db/0": 1})})
    local, told = deliver(settled(before), replace(before, dying=True))
    assert told == [
        "data-storage-detaching",
        "db-relation-departed db/0",
        "db-relation-broken db",
        "stop",
        "remove",
    ]
    assert is_dead(local, replace(before, dying=True))


def test_a_unit_that_was_never_installed_goes_at_once() -> None:
    assert is_dead(Local(), Remote("app/0", dying=True, leader=True, relations={1: DB}))


def test_an_upgrade_is_followed_by_config_changed() -> None:
    before = Remote("app/0", charm=1)
    assert deliver(settled(before), replace(before, charm=2))[1] == ["upgrade-charm", "config-changed"]


def test_a_machine_that_came_back_starts_its_unit_again() -> None:
    before = Remote("app/0", boot=1)
    assert deliver(settled(before), replace(before, boot=2))[1] == ["start"]


def test_secrets_come_before_what_an_operator_changed_and_update_status_last() -> None:
    changed = Event("secret-changed", secret_id="secret:x", secret_revision=2)
    before = Remote("app/0", relations={1: DB})
    after = replace(before, config=1, secret_events=(changed,), update_status_due=True)
    local = settled(before)
    assert next_event(local, after) == changed
    after = replace(after, secret_events=())
    first = next_event(local, after)
    assert first is not None
    assert first.kind == "config-changed"
    local = acknowledge(local, first)
    assert next_event(local, after) == Event("update-status")


def test_changed_follows_joined_even_if_that_unit_has_left_the_relation_ends_or_the_unit_itself_goes() -> None:
    before = Remote("app/0", relations={1: replace(DB, members={"db/0": 1})})
    joined = Event("relation-joined", endpoint="db", relation_id=1, remote_app="db", remote_unit="db/0")
    local = acknowledge(settled(replace(before, relations={1: DB})), joined)
    for after in (
        replace(before, relations={1: DB}),
        replace(before, relations={1: replace(DB, dying=True)}),
        replace(before, dying=True),
    ):
        assert deliver(local, after)[1][:2] == ["db-relation-changed db/0", "db-relation-departed db/0"]


def test_who_left_is_told_before_what_the_application_wrote() -> None:
    before = Remote("app/0", relations={1: replace(DB, members={"db/0": 1})})
    after = replace(before, relations={1: replace(DB, members={"db/1": 1}, app_version=1)})
    assert deliver(settled(before), after)[1] == [
        "db-relation-departed db/0",
        "db-relation-changed db",
        "db-relation-joined db/1",
        "db-relation-changed db/1",
    ]


def test_peers_depart_but_their_relation_does_not_break() -> None:
    before = Remote("app/0", relations={0: RemoteRelation("peers", "app", peer=True, members={"app/1": 1})})
    assert deliver(settled(before), replace(before, dying=True))[1] == [
        "peers-relation-departed app/1",
        "stop",
        "remove",
    ]


def test_a_relation_that_was_entered_breaks_even_if_it_ended_before_it_was_told_created() -> None:
    created = Event("relation-created", endpoint="peers", relation_id=0, remote_app="app")
    local = acknowledge(acknowledge(Local(), Event("install")), created)
    peers = RemoteRelation("peers", "app", peer=True, entered=True)
    entered = Remote("app/0", relations={0: peers, 1: replace(DB, dying=True, entered=True)})
    local = deliver(local, replace(entered, relations={0: peers}))[0]
    for remote in (entered, replace(entered, dying=True)):
        event = next_event(local, remote)
        assert event is not None
        assert (event.hook_name, event.relation_id) == ("db-relation-broken", 1)
    # One that it never entered was none of its business.
    assert next_event(local, replace(entered, relations={0: peers, 1: replace(DB, dying=True)})) is None


def test_nothing_comes_between_config_changed_and_the_first_start_not_even_the_end() -> None:
    remote = Remote("app/0", config=1)
    local = acknowledge(acknowledge(Local(), Event("install")), Event("config-changed", version=1))
    changed = replace(remote, config=2, charm=3, leader=True, relations={1: DB})
    assert deliver(local, changed)[1][0] == "start"
    assert deliver(local, replace(changed, dying=True))[1] == ["start", "stop", "remove"]


def test_nothing_comes_between_upgrade_charm_and_config_changed_not_even_the_end() -> None:
    before = Remote("app/0", config=1)
    local = acknowledge(settled(before), Event("upgrade-charm", version=1))
    after = replace(before, charm=1, leader=True, relations={1: DB})
    assert deliver(local, after)[1][0] == "config-changed"
    assert deliver(local, replace(after, dying=True))[1] == ["config-changed", "stop", "remove"]


def test_storage_that_was_attached_is_detached_even_if_the_unit_was_never_installed() -> None:
    local = acknowledge(Local(), Event("storage-attached", storage_id="data/0"))
    gone = Remote("app/0", dying=True, storage=("data/0", "data/1"))
    assert deliver(local, gone)[1] == ["data-storage-detaching"]


relation = st.builds(
    RemoteRelation,
    endpoint=st.just("db"),
    remote_app=st.just("db"),
    dying=st.booleans(),
    members=st.dictionaries(st.sampled_from(["db/0", "db/1", "db/2"]), st.integers(1, 3)),
    app_version=st.integers(0, 2),
)
remote_state = st.builds(
    Remote,
    unit=st.just("app/0"),
    leader=st.booleans(),
    charm=st.integers(0, 2),
    config=st.integers(0, 2),
    boot=st.integers(1, 2),
    storage=st.sampled_from([(), ("data/0",), ("data/0", "data/1")]),
    relations=st.dictionaries(st.integers(0, 2), relation, max_size=3),
)


@given(st.lists(st.tuples(remote_state, st.integers(0, 6)), min_size=1, max_size=8))
def test_whatever_changes_between_hooks_the_unit_settles_knowing_all_and_then_goes(
    history: list[tuple[Remote, int]],
) -> None:
    local = Local()
    for remote, steps in history:
        for _ in range(steps):
            event = next_event(local, remote)
            if event is None:
                break
            local = acknowledge(local, event)
        assert Local.from_dict(local.to_dict()) == local
    last = history[-1][0]
    local, _ = deliver(local, last)
    for relation_id, found in last.relations.items():
        if found.dying:
            assert relation_id not in local.relations
        else:
            assert dict(local.relations[relation_id].members) == dict(found.members)
            assert local.relations[relation_id].app_version == found.app_version
    assert (local.config, local.charm, local.boot, local.started) == (last.config, last.charm, last.boot, True)
    gone, told = deliver(local, replace(last, dying=True))
    assert is_dead(gone, replace(last, dying=True))
    assert told[-2:] == ["stop", "remove"]
