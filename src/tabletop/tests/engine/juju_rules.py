"""Juju's rules, written down from its uniter and not from the engine: what a diary must never show.

Order within a unit is that of juju/juju `internal/worker/uniter` (single files, some from before or after 3.6):
`resolver.go`, `relation/resolver.go`, `leadership/resolver.go`, `storage/resolver.go`, `operation/runhook.go`.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from delivery import Deliveries, Story
from diary import Attempt, Diary

BEFORE_START = {
    "storage-attached",
    "install",
    "relation-created",
    "relation-broken",
    "leader-elected",
    "leader-settings-changed",
    "upgrade-charm",
    "config-changed",
    "start",
    "storage-detaching",
    "remove",
    "secret-changed",
    "secret-remove",
}
LAST = {"storage-detaching", "relation-departed", "relation-broken", "stop", "remove"}


@dataclass
class Told:
    """A relation as a unit was told of it."""

    endpoint: str
    created: bool = False
    members: set[str] = field(default_factory=set)
    ever: set[str] = field(default_factory=set)
    pending: str = ""
    broken: bool = False


@dataclass
class Unit:
    """Where a unit stands."""

    storage: set[str] = field(default_factory=set)
    had_storage: bool = False
    installed: bool = False
    started: bool = False
    leaving: bool = False
    stopped: bool = False
    removed: bool = False
    elected: bool = False
    follows: bool = False
    relations: dict[int, Told] = field(default_factory=dict)
    secrets: dict[str, int] = field(default_factory=dict)
    last: str = ""


def problems(diary: Diary) -> list[str]:
    """Return all that contradicts Juju's rules."""
    deliveries = Deliveries(diary)
    found = [*diary.refusals, *deliveries.problems]
    for story in deliveries.stories.values():
        found += _order(deliveries, story)[1]
    found += _atomic(deliveries)
    found += _changes(deliveries)
    found += _counts(deliveries)
    found += _leaders(diary)
    found += _tasks(diary)
    return found


def told(deliveries: Deliveries, unit: str) -> Unit:
    """Return where a unit stands after all it was told."""
    return _order(deliveries, deliveries.stories[unit])[0]


def _order(deliveries: Deliveries, story: Story) -> tuple[Unit, list[str]]:
    unit = Unit()
    found: list[str] = []
    for one in story.delivered:
        found += [f"{one}: {what}" for what in _event(deliveries, unit, one)]
    return unit, found


def _event(deliveries: Deliveries, unit: Unit, one: Attempt) -> list[str]:
    kind, wrong = one.kind, list[str]()

    def refuse(condition: bool, what: str) -> None:
        if condition:
            wrong.append(what)

    refuse(unit.removed, "comes after remove")
    refuse(unit.stopped and kind != "remove", "comes after stop")
    refuse(not unit.started and kind not in BEFORE_START, "comes before start")
    refuse(not unit.installed and not kind.startswith("storage") and kind != "install", "comes before install")
    refuse(unit.last == "upgrade-charm" and kind != "config-changed", "comes between upgrade-charm and config-changed")
    refuse(
        unit.last == "config-changed" and not unit.started and kind != "start", "comes between config-changed and start"
    )
    changes = kind == "relation-changed" and one.relation in unit.relations
    owed = changes and unit.relations[one.relation or 0].pending
    refuse(unit.leaving and kind not in LAST and not owed, "comes when the unit was leaving already")
    if one.relation is not None:
        wrong += _relation(deliveries, unit, one)
    else:
        wrong += _own(deliveries, unit, one)
    unit.last = kind
    return wrong


def _own(deliveries: Deliveries, unit: Unit, one: Attempt) -> list[str]:
    kind, wrong = one.kind, list[str]()

    def refuse(condition: bool, what: str) -> None:
        if condition:
            wrong.append(what)

    match kind:
        case "storage-attached":
            refuse(one.storage in unit.storage, "attached twice")
            unit.storage.add(one.storage)
            unit.had_storage = True
        case "storage-detaching":
            refuse(one.storage not in unit.storage, "was not attached")
            unit.storage.discard(one.storage)
            unit.leaving = True
        case "install":
            refuse(unit.installed, "a second time")
            refuse(not unit.had_storage, "before its storage")
            unit.installed = True
        case "leader-elected":
            refuse(unit.elected, "a second time")
            refuse(one.read_at is not None and not one.leader, "but it does not lead")
            unit.elected = True
        case "leader-settings-changed":
            # The watcher's first event counts as a change; these charms set none, so there is no other.
            refuse(unit.follows, "a second time")
            refuse(unit.elected or (one.read_at is not None and one.leader), "but it leads")
            unit.follows = True
        case "config-changed":
            refuse(not any(told.endpoint == "ring" for told in unit.relations.values()), "before ring-relation-created")
            refuse(one.unit.endswith("/0") and not unit.elected, "before leader-elected")
            refuse(not unit.elected and not unit.follows, "before leader-settings-changed")
        case "start":
            refuse(unit.started, "a second time")
            refuse(unit.last != "config-changed", "not after config-changed")
            unit.started = True
        case "stop":
            refuse(not unit.started, "never started")
            refuse(bool(unit.storage), "still has storage")
            open_relations = [told for told in unit.relations.values() if not told.broken and told.endpoint != "ring"]
            refuse(bool(open_relations), "still in a relation")
            refuse(any(told.members for told in unit.relations.values()), "still sees units")
            unit.leaving = unit.stopped = True
        case "remove":
            refuse(unit.started and not unit.stopped, "not stopped")
            unit.leaving = unit.removed = True
        case "secret-changed":
            refuse(not _follows(deliveries.diary, one), "of a secret it does not follow")
            refuse(unit.secrets.get(one.secret, 0) >= one.revision, "a second time")
            unit.secrets[one.secret] = one.revision
        case _:
            pass
    return wrong


def _relation(deliveries: Deliveries, unit: Unit, one: Attempt) -> list[str]:
    wrong: list[str] = []

    def refuse(condition: bool, what: str) -> None:
        if condition:
            wrong.append(what)

    assert one.relation is not None
    endpoint = one.hook.partition("-")[0]
    relation = unit.relations.setdefault(one.relation, Told(endpoint))
    refuse(relation.broken, "of a relation that is broken")
    pending, relation.pending = relation.pending, ""
    due = one.kind == "relation-changed" and one.remote_unit == pending
    refuse(bool(pending) and not due, f"comes between joined and changed of {pending}")
    refuse(one.kind not in ("relation-created", "relation-broken") and not relation.created, "before created")
    refuse(one.remote_unit == one.unit, "of itself")
    if one.remote_unit and endpoint != "ring":
        refuse(one.remote_unit.partition("/")[0] == one.application, "of its own side")
    seen = one.relations.get(one.relation)
    if one.remote_unit and seen is not None:
        there = one.remote_unit in seen["members"]
        refuse(there == (one.kind == "relation-departed"), f"relation-list says {seen['members']}")
    match one.kind:
        case "relation-created":
            refuse(relation.created, "a second time")
            relation.created = True
        case "relation-joined":
            refuse(one.remote_unit in relation.ever, "a second time")
            relation.members.add(one.remote_unit)
            relation.ever.add(one.remote_unit)
            relation.pending = one.remote_unit
        case "relation-changed":
            refuse(bool(one.remote_unit) and one.remote_unit not in relation.members, "of a unit that is not there")
        case "relation-departed":
            refuse(one.remote_unit not in relation.members, "of a unit that is not there")
            relation.members.discard(one.remote_unit)
            going = _removal_began(deliveries.diary, one.unit, one.ended or len(deliveries.diary.lines))
            refuse(one.departing not in (one.unit, one.remote_unit), f"departing is {one.departing}")
            refuse(one.departing == one.unit and not going, "it is said to depart itself, but nobody removes it")
        case "relation-broken":
            refuse(endpoint == "ring", "peers' relations don't break")
            refuse(bool(relation.members), f"while {sorted(relation.members)} are there")
            relation.broken = True
        case _:
            wrong.append("an unknown event")
    return wrong


def _follows(diary: Diary, one: Attempt) -> bool:
    """Tell whether a unit had read a secret before, which makes it a consumer even if that hook failed."""
    return any(
        secret == one.secret and content is not None
        for other in diary.attempts
        if other.unit == one.unit and other.entered < one.entered
        for secret, content in other.secrets
    )


def _removal_began(diary: Diary, unit: str, before: int) -> bool:
    application = unit.partition("/")[0]
    return any(
        mark.kind == "begin"
        and mark.at < before
        and (
            (mark.method == "remove_unit" and mark.params["unit"] == unit)
            or (mark.method == "remove_application" and mark.params["app"] == application)
        )
        for mark in diary.marks
    )


def _atomic(deliveries: Deliveries) -> list[str]:
    """A databag holds what one committed run wrote last, whole; no reader sees it go back."""
    found: list[str] = []
    newest: dict[tuple[str, int, str], int] = defaultdict(lambda: -1)
    for reader in deliveries.diary.attempts:
        if reader.read_at is None:
            continue
        for number, relation in reader.relations.items():
            for entity, bag in relation["bags"].items():
                where = f"{reader} reads the databag of {entity} in {number}"
                first, second = bag.get("first"), bag.get("second")
                if first != second:
                    found.append(f"{where}: half of {first!r} and {second!r}")
                    continue
                commits = deliveries.commits.get((number, entity), [])
                index = next((at for at, (_, word) in enumerate(commits) if word == first), -1)
                if first is not None and index < 0:
                    found.append(f"{where}: {first!r} was never committed")
                    continue
                if index >= 0 and (commits[index][0].ended or 0) > reader.read_at:
                    found.append(f"{where}: {first!r} before it was committed")
                least = max(_surely(deliveries, commits, reader), newest[(reader.unit, number, entity)])
                if index < least:
                    found.append(f"{where}: {first!r} is older than {commits[least][1]!r}")
                newest[(reader.unit, number, entity)] = index
    return found


def _surely(deliveries: Deliveries, commits: list[tuple[Attempt, str]], reader: Attempt) -> int:
    """Return the newest commit that was over, for its unit had gone on, when a reader began; -1 if there is none."""
    over = [at for at, (writer, _) in enumerate(commits) if deliveries.diary.next_entry(writer) <= reader.entered]
    return max(over, default=-1)


def _changes(deliveries: Deliveries) -> list[str]:
    """Each relation-changed but that after joined has a commit by another before it."""
    found: list[str] = []
    for story in deliveries.stories.values():
        joined: set[tuple[int, str]] = set()
        told: Counter[tuple[int, str]] = Counter()
        for one in story.delivered:
            if one.relation is None:
                continue
            whose = (one.relation, one.remote_unit or one.remote_app)
            if one.kind == "relation-joined":
                joined.add(whose)
            elif one.kind == "relation-changed" and whose in joined:
                joined.discard(whose)
            elif one.kind == "relation-changed":
                told[whose] += 1
                commits = [
                    writer
                    for writer, _ in deliveries.commits.get(whose, [])
                    if writer.unit != one.unit and (writer.ended or 0) < one.entered
                ]
                if told[whose] > len(commits) + deliveries_of_secret(deliveries, whose, one):
                    found.append(f"{one}: {told[whose]} changes told of {len(commits)} that were made")
    return found


def deliveries_of_secret(deliveries: Deliveries, whose: tuple[int, str], reader: Attempt) -> int:
    """Return how often the server's leader may have put its secret's URI into its databag."""
    return sum(
        one.hook == "server-relation-joined"
        and one.relation == whose[0]
        and one.application == whose[1]
        and one.leader
        and one.entered < reader.entered
        for one in deliveries.diary.attempts
    )


def _counts(deliveries: Deliveries) -> list[str]:
    """No more config-changed, upgrade-charm than there were reasons for."""
    found: list[str] = []
    begun = [mark for mark in deliveries.diary.marks if mark.kind == "begin"]
    for story in deliveries.stories.values():
        application = story.unit.partition("/")[0]
        counts = Counter(one.kind for one in story.delivered)
        changes = sum(mark.method == "set_config" and mark.params["app"] == application for mark in begun)
        upgrades = sum(mark.method == "refresh" and mark.params["app"] == application for mark in begun)
        if counts["upgrade-charm"] > upgrades:
            found.append(f"{story.unit}: upgrade-charm {counts['upgrade-charm']} times after {upgrades} refreshes")
        if counts["config-changed"] > 1 + changes + counts["upgrade-charm"]:
            found.append(f"{story.unit}: config-changed {counts['config-changed']} times after {changes} changes")
    return found


def _leaders(diary: Diary) -> list[str]:
    """Leadership goes from a unit to a later one, and never comes back."""
    found: list[str] = []
    leading: dict[str, int] = {}
    for one in sorted((one for one in diary.attempts if one.read_at is not None), key=lambda one: one.read_at or 0):
        number = int(one.unit.partition("/")[2])
        if one.leader:
            if diary.forced(one.unit):
                # It may have been gone when it wrote down what it had read.
                continue
            if number < leading.get(one.application, 0):
                found.append(f"{one} leads again")
            leading[one.application] = number
    return found


def _tasks(diary: Diary) -> list[str]:
    runs = Counter(one.task for one in diary.attempts if one.task)
    return [f"action {task} ran {count} times" for task, count in runs.items() if count > 1]
