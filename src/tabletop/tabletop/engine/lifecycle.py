"""Which event a unit gets next: the order in which Juju delivers events, as pure functions.

The agent compares what the unit has been told (`Local`, kept with the unit) with what there is to tell (`Remote`,
read from the model), delivers the first difference, and acknowledges it once the hook has succeeded. So a change that
comes twice before it is delivered is delivered once, and nothing is lost when the process dies.

The order is that of Juju's uniter (juju/juju, `internal/worker/uniter`: `resolver.go`, and the resolvers that it asks
one after the other).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

_NEVER = -1
_OWED = -2
"""Of a configuration: upgrade-charm has run, and config-changed is to follow before anything else."""


@dataclass(frozen=True, slots=True)
class Event:
    """One hook to run; `version` is what its success acknowledges (of a databag, the configuration, the charm)."""

    kind: str
    endpoint: str = ""
    relation_id: int | None = None
    remote_app: str = ""
    remote_unit: str = ""
    departing_unit: str = ""
    version: int = 0
    secret_id: str = ""
    secret_label: str = ""
    secret_revision: int | None = None
    storage_id: str = ""

    @property
    def hook_name(self) -> str:
        """The hook's name, such as `db-relation-changed`."""
        if self.endpoint:
            return f"{self.endpoint}-{self.kind}"
        if self.storage_id:
            return f"{self.storage_id.partition('/')[0]}-{self.kind}"
        return self.kind

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LocalRelation:
    """What the unit has been told of a relation: its members and the versions of their databags."""

    members: Mapping[str, int] = field(default_factory=dict[str, int])
    app_version: int = 0
    changed_pending: str = ""


@dataclass(frozen=True, slots=True)
class Local:
    """What the unit has been told."""

    installed: bool = False
    started: bool = False
    stopped: bool = False
    removed: bool = False
    leader: bool = False
    leader_settings: int = _NEVER
    charm: int = -1
    config: int = _NEVER
    boot: int = -1
    storage: tuple[str, ...] = ()
    relations: Mapping[int, LocalRelation] = field(default_factory=dict[int, LocalRelation])

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Local":
        """Read what `to_dict` wrote."""
        fields: dict[str, Any] = dict(data)
        fields["storage"] = tuple(data.get("storage", ()))
        fields["relations"] = {int(key): LocalRelation(**value) for key, value in data.get("relations", {}).items()}
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class RemoteRelation:
    """A relation as it stands: the units on the other side and the versions of their databags.

    `entered` says that the unit itself is in it: that comes with the first relation-created, for all relations at once.
    """

    endpoint: str
    remote_app: str
    dying: bool = False
    peer: bool = False
    entered: bool = False
    members: Mapping[str, int] = field(default_factory=dict[str, int])
    app_version: int = 0


@dataclass(frozen=True, slots=True)
class Remote:
    """What there is to tell a unit."""

    unit: str
    dying: bool = False
    leader: bool = False
    leader_settings: int = 0
    charm: int = 0
    config: int = 0
    boot: int = 0
    storage: tuple[str, ...] = ()
    relations: Mapping[int, RemoteRelation] = field(default_factory=dict[int, RemoteRelation])
    secret_events: tuple[Event, ...] = ()
    update_status_due: bool = False


def next_event(local: Local, remote: Remote) -> Event | None:
    """Return the next event of a unit, or None if it has been told everything."""
    queued = _queued_event(local, remote)
    if queued is not None:
        return queued
    if remote.dying:
        return _teardown_event(local, remote)
    attached = next((one for one in remote.storage if one not in local.storage), None)
    if not local.installed:
        if attached is not None:
            return Event("storage-attached", storage_id=attached)
        return Event("install", version=remote.charm)
    for relation_id, relation in sorted(remote.relations.items()):
        if relation_id not in local.relations and not relation.dying:
            return _relation_event("relation-created", relation_id, relation)
    if remote.leader and not local.leader:
        return Event("leader-elected")
    if not remote.leader and local.leader_settings != remote.leader_settings:
        return Event("leader-settings-changed", version=remote.leader_settings)
    if remote.secret_events:
        return remote.secret_events[0]
    if attached is not None:
        return Event("storage-attached", storage_id=attached)
    if local.charm != remote.charm:
        return Event("upgrade-charm", version=remote.charm)
    if local.config != remote.config:
        return Event("config-changed", version=remote.config)
    event = _next_of_relations(local, remote)
    if event is not None:
        return event
    return Event("update-status") if remote.update_status_due else None


def _queued_event(local: Local, remote: Remote) -> Event | None:
    """Return what follows the event before it without fail, even if the unit is to go: the rest of a pair, a boot."""
    if local.config == _OWED:
        return Event("config-changed", version=remote.config)
    if local.installed and not local.started and local.config != _NEVER:
        return Event("start", version=remote.boot)
    if local.started and not local.stopped and local.boot != remote.boot:
        return Event("start", version=remote.boot)
    return None


def is_dead(local: Local, remote: Remote) -> bool:
    """Tell whether a unit that is being removed has nothing left to do."""
    return remote.dying and next_event(local, remote) is None


def acknowledge(local: Local, event: Event) -> Local:
    """Return what a unit has been told once the hook of an event has succeeded or been skipped."""
    match event.kind:
        case "storage-attached":
            return replace(local, storage=(*local.storage, event.storage_id))
        case "storage-detaching":
            return replace(local, storage=tuple(one for one in local.storage if one != event.storage_id))
        case "install":
            return replace(local, installed=True, charm=event.version)
        case "leader-elected":
            return replace(local, leader=True)
        case "leader-settings-changed":
            return replace(local, leader_settings=event.version)
        case "upgrade-charm":
            return replace(local, charm=event.version, config=_OWED)
        case "config-changed":
            return replace(local, config=event.version)
        case "start":
            return replace(local, started=True, boot=event.version)
        case "stop":
            return replace(local, stopped=True)
        case "remove":
            return replace(local, removed=True)
        case _ if event.relation_id is not None:
            return _acknowledge_relation(local, event, event.relation_id)
        case _:
            return local


def _acknowledge_relation(local: Local, event: Event, relation_id: int) -> Local:
    relations = dict(local.relations)
    relation = relations.get(relation_id, LocalRelation())
    members = dict(relation.members)
    match event.kind:
        case "relation-created":
            relations[relation_id] = relation
        case "relation-joined":
            members[event.remote_unit] = 0
            relations[relation_id] = replace(relation, members=members, changed_pending=event.remote_unit)
        case "relation-changed" if event.remote_unit:
            members[event.remote_unit] = event.version
            pending = "" if relation.changed_pending == event.remote_unit else relation.changed_pending
            relations[relation_id] = replace(relation, members=members, changed_pending=pending)
        case "relation-changed":
            relations[relation_id] = replace(relation, app_version=event.version)
        case "relation-departed":
            members.pop(event.remote_unit, None)
            pending = "" if relation.changed_pending == event.remote_unit else relation.changed_pending
            relations[relation_id] = replace(relation, members=members, changed_pending=pending)
        case _:
            relations.pop(relation_id, None)
    return replace(local, relations=relations)


def _teardown_event(local: Local, remote: Remote) -> Event | None:
    if local.storage:
        return Event("storage-detaching", storage_id=local.storage[0])
    for relation_id, relation in sorted(remote.relations.items()):
        told = _told(local, relation_id, relation)
        event = None if told is None else _break_event(relation_id, told, relation, remote.unit)
        if event is not None:
            return event
    if local.started and not local.stopped:
        return Event("stop")
    if local.installed and not local.removed:
        return Event("remove")
    return None


def _told(local: Local, relation_id: int, relation: RemoteRelation) -> LocalRelation | None:
    """Return what a unit has been told of a relation; one that it has entered breaks even if it was told nothing."""
    return local.relations.get(relation_id, LocalRelation() if relation.entered else None)


def _break_event(relation_id: int, told: LocalRelation, relation: RemoteRelation, departing: str) -> Event | None:
    if told.changed_pending:
        return _changed_event(relation_id, relation, told.changed_pending)
    for member in sorted(told.members, key=unit_key):
        return _relation_event(
            "relation-departed", relation_id, relation, remote_unit=member, departing_unit=departing or member
        )
    # Peers are left without a word.
    return None if relation.peer else _relation_event("relation-broken", relation_id, relation)


def _next_of_relations(local: Local, remote: Remote) -> Event | None:
    for relation_id, relation in sorted(remote.relations.items()):
        told = _told(local, relation_id, relation) if relation.dying else local.relations.get(relation_id)
        if told is None:
            continue
        event = _next_of_relation(relation_id, told, relation)
        if event is not None:
            return event
    return None


def _next_of_relation(relation_id: int, told: LocalRelation, relation: RemoteRelation) -> Event | None:
    if told.changed_pending:
        # It always follows relation-joined, if the unit there has gone meanwhile too.
        return _changed_event(relation_id, relation, told.changed_pending)
    if relation.dying:
        return _break_event(relation_id, told, relation, "")
    for member in sorted(told.members, key=unit_key):
        if member not in relation.members:
            return _relation_event(
                "relation-departed", relation_id, relation, remote_unit=member, departing_unit=member
            )
    if relation.app_version != told.app_version:
        return _relation_event("relation-changed", relation_id, relation, version=relation.app_version)
    for member in sorted(relation.members, key=unit_key):
        if member not in told.members:
            return _relation_event("relation-joined", relation_id, relation, remote_unit=member)
    for member in sorted(relation.members, key=unit_key):
        if relation.members[member] != told.members[member]:
            return _changed_event(relation_id, relation, member)
    return None


def _changed_event(relation_id: int, relation: RemoteRelation, member: str) -> Event:
    return _relation_event(
        "relation-changed", relation_id, relation, remote_unit=member, version=relation.members.get(member, 0)
    )


def _relation_event(
    kind: str,
    relation_id: int,
    relation: RemoteRelation,
    *,
    remote_unit: str = "",
    departing_unit: str = "",
    version: int = 0,
) -> Event:
    return Event(
        kind,
        endpoint=relation.endpoint,
        relation_id=relation_id,
        remote_app=relation.remote_app,
        remote_unit=remote_unit,
        departing_unit=departing_unit,
        version=version,
    )


def unit_key(name: str) -> tuple[str, int]:
    """Return a key that sorts units by application, then by number."""
    application, _, number = name.partition("/")
    return application, int(number or 0)


def detaching_event(local: Local, remote: Remote) -> Event | None:
    """Return the event of a unit that stays and loses a piece of storage; it comes before any other."""
    if remote.dying or not local.installed:
        return None
    gone = next((one for one in local.storage if one not in remote.storage), None)
    return None if gone is None else Event("storage-detaching", storage_id=gone)
