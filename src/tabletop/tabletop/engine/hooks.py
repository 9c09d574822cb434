"""One hook: what it sees, what it has written and not committed yet, and the environment it runs in."""

import secrets as entropy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabletop.engine import relations, snapshot
from tabletop.engine.lifecycle import Event, RemoteRelation, unit_key
from tabletop.engine.model import Model
from tabletop.engine.secrets import Draft


class ToolError(Exception):
    """A hook tool refuses; the text goes to its stderr as `ERROR <text>`."""

    def __init__(self, text: str, code: int = 1) -> None:
        """Refuse with a text and an exit code: 1, or 2 for arguments that make no sense."""
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Port:
    """A range of ports; icmp has none (0)."""

    protocol: str
    start: int
    end: int
    endpoint: str = ""

    def __str__(self) -> str:
        """Write it as Juju does."""
        if self.protocol == "icmp":
            return "icmp"
        span = f"{self.start}" if self.start == self.end else f"{self.start}-{self.end}"
        return f"{span}/{self.protocol}"


@dataclass(slots=True)
class TaskState:
    """The action or script that a hook context was made for."""

    id: int
    kind: str
    name: str
    params: Mapping[str, Any]
    results: dict[str, Any] = field(default_factory=dict[str, Any])
    failed: bool = False
    message: str = ""


class HookContext:
    """A hook's transaction: it sees its own writes, others see them once it has exited 0."""

    def __init__(self, model: Model, unit: Any, event: Event | None, task: TaskState | None = None) -> None:
        """Begin a hook of a unit (its row), for an event or for a task."""
        self.model = model
        self.unit: str = unit["name"]
        self.application: str = unit["application"]
        self.machine: int = unit["machine"]
        self.principal: str = unit["principal"] or ""
        self.event = event
        self.task = task
        self.local = snapshot.local_state(unit)
        name = event.hook_name if event else task.name if task else "exec"
        self.id = f"{self.unit}-{name}-{entropy.token_hex(10)}"
        self.lock = threading.RLock()
        """Held by whoever reads or changes what the hook has written; taken before the store's."""
        self.databags: dict[tuple[int, str], dict[str, str]] = {}
        self.secrets: dict[str, Draft] = {}
        self.ports: set[Port] | None = None
        self.closed_ports: set[Port] = set()
        self.state: dict[str, str] | None = None
        self.new_storage: dict[str, int] = {}
        self.leader_settings: dict[str, str] | None = None
        self.reboot = ""
        self._kill: Callable[[], None] | None = None
        self._cancelled = False
        self._seen: dict[tuple[int, str], dict[str, str] | None] = {}
        self._relations: Mapping[int, RemoteRelation] | None = None

    def began(self, kill: Callable[[], None]) -> None:
        """Note how to kill the program that runs for this context; that happens at once if it was cancelled."""
        self._kill = kill
        if self._cancelled:
            kill()

    def cancel(self) -> None:
        """Kill the program that runs for this context, or as soon as it does."""
        self._cancelled = True
        if self._kill is not None:
            self._kill()

    @property
    def is_leader(self) -> bool:
        """Whether the unit leads its application now."""
        return self.model.leader(self.application) == self.unit

    def relations(self) -> Mapping[int, RemoteRelation]:
        """Return the relations that the unit is in, and the one that the hook is about."""
        if self._relations is None:
            with self.model.store.read():
                inside = {
                    row["relation"]
                    for row in self.model.store.all("SELECT relation FROM scope WHERE unit = ?", self.unit)
                }
                everything = snapshot.relations_of(self.model, self.model.unit(self.unit))
            self._relations = {key: value for key, value in everything.items() if key in inside}
        return self._relations

    def own_relation(self) -> tuple[int, RemoteRelation] | None:
        """Return the relation that the hook is about, if it is about one."""
        key = self.event.relation_id if self.event else None
        found = None if key is None else self.relations().get(key)
        return None if key is None or found is None else (key, found)

    def find_relation(self, reference: str) -> tuple[int, RemoteRelation]:
        """Return the relation that a text names: `<id>` or `<endpoint>:<id>`.

        Raises:
            ToolError: there is no such relation.
        """
        endpoint, _, number = reference.rpartition(":")
        if not number.isdecimal():
            raise ToolError("invalid relation id", 2)
        relation = self.relations().get(int(number))
        if relation is None or (endpoint and relation.endpoint != endpoint):
            raise ToolError("relation not found", 2)
        return int(number), relation

    def members(self, relation_id: int) -> list[str]:
        """Return the remote units of a relation that the unit has been told of, or is by this hook."""
        told = self.local.relations.get(relation_id)
        units = set(told.members) if told else set[str]()
        event = self.event
        if event and event.relation_id == relation_id and event.remote_unit:
            if event.kind == "relation-departed":
                units.discard(event.remote_unit)
            else:
                units.add(event.remote_unit)
        return sorted(units, key=unit_key)

    def databag(self, relation_id: int, entity: str) -> dict[str, str] | None:
        """Return a databag: with this hook's own writes if it has any, else as it was when first looked at."""
        key = (relation_id, entity)
        if key in self.databags:
            return self.databags[key]
        if key not in self._seen:
            self._seen[key] = relations.read_databag(self.model, relation_id, entity)
        return self._seen[key]

    def write_databag(self, relation_id: int, entity: str, changes: Mapping[str, str]) -> None:
        """Change keys of a databag; an empty value removes the key."""
        data = dict(self.databag(relation_id, entity) or {})
        for key, value in changes.items():
            if value:
                data[key] = value
            else:
                data.pop(key, None)
        self.databags[(relation_id, entity)] = data

    def open_ports(self) -> set[Port]:
        """Return the unit's open ports, which the hook may change in place."""
        if self.ports is None:
            rows = self.model.store.all("SELECT * FROM opened_port WHERE unit = ?", self.unit)
            self.ports = {Port(row["protocol"], row["from_port"], row["to_port"], row["endpoint"]) for row in rows}
        return self.ports


def environment(context: HookContext) -> dict[str, str]:
    """Return the environment that Juju gives a hook or an action."""
    model = context.model
    base = model.inside(context.machine)
    tag = "unit-" + context.unit.replace("/", "-")
    charm_directory = f"{base}/agents/{tag}/charm"
    event, task = context.event, context.task
    variables = {
        "APT_LISTCHANGES_FRONTEND": "none",
        "DEBIAN_FRONTEND": "noninteractive",
        "LANG": "C.UTF-8",
        "TERM": "tmux-256color",
        "HOME": "/root",
        "PATH": f"{base}/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "CHARM_DIR": charm_directory,
        "CLOUD_API_VERSION": "",
        "JUJU_CHARM_DIR": charm_directory,
        "JUJU_AGENT_SOCKET_ADDRESS": f"{base}/agent.socket",
        "JUJU_AGENT_SOCKET_NETWORK": "unix",
        "JUJU_API_ADDRESSES": "",
        "JUJU_AVAILABILITY_ZONE": "",
        "JUJU_CONTEXT_ID": context.id,
        "JUJU_HOOK_NAME": event.hook_name if event else "",
        "JUJU_MACHINE_ID": str(context.machine),
        "JUJU_METER_INFO": "not set",
        "JUJU_METER_STATUS": "AMBER",
        "JUJU_MODEL_NAME": model.name,
        "JUJU_MODEL_UUID": model.uuid,
        "JUJU_PRINCIPAL_UNIT": context.principal,
        "JUJU_SLA": "unsupported",
        "JUJU_UNIT_NAME": context.unit,
        "JUJU_VERSION": model.settings.juju_version,
    }
    if event:
        variables["JUJU_DISPATCH_PATH"] = f"hooks/{event.hook_name}"
        variables.update(_event_variables(event))
    elif task and task.kind == "action":
        variables["JUJU_DISPATCH_PATH"] = f"actions/{task.name}"
        variables |= {
            "JUJU_ACTION_NAME": task.name,
            "JUJU_ACTION_UUID": str(task.id),
            "JUJU_ACTION_TAG": f"action-{task.id}",
        }
    return variables


def _event_variables(event: Event) -> dict[str, str]:
    variables: dict[str, str] = {}
    if event.relation_id is not None:
        variables |= {
            "JUJU_RELATION": event.endpoint,
            "JUJU_RELATION_ID": f"{event.endpoint}:{event.relation_id}",
            "JUJU_REMOTE_APP": event.remote_app,
            "JUJU_REMOTE_UNIT": event.remote_unit,
        }
        if event.departing_unit:
            variables["JUJU_DEPARTING_UNIT"] = event.departing_unit
    if event.secret_id:
        variables |= {"JUJU_SECRET_ID": event.secret_id, "JUJU_SECRET_LABEL": event.secret_label}
        if event.secret_revision is not None:
            variables["JUJU_SECRET_REVISION"] = str(event.secret_revision)
    if event.storage_id:
        variables["JUJU_STORAGE_ID"] = event.storage_id
    return variables
