"""A broker in memory, in the place of the workload module."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ops import testing

import charm
import rabbitmq
import smoke
from management import ManagementError, Queue
from topology import Limits, Permissions, TopicPermissions


@dataclass
class FakeBroker:
    """What the machine and the broker hold; stands in for the modules ``rabbitmq`` and ``smoke``."""

    installed: bool = False
    is_running: bool = False
    settings: rabbitmq.Settings | None = None
    starts: int = 0
    started_from: rabbitmq.Settings | None = None
    admin_password: str | None = None
    vhosts: dict[str, Limits] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    permissions: dict[tuple[str, str], Permissions] = field(default_factory=dict)
    found: list[Queue] = field(default_factory=list)
    commands: dict[str, list[str]] = field(default_factory=dict)
    nodes: dict[str, list[str]] = field(default_factory=dict)
    topic_permissions: dict[tuple[str, str], Mapping[str, TopicPermissions]] = field(default_factory=dict)
    declared: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {
            kind: [] for kind in ("users", "permissions", "topic_permissions", "queues", "bindings")
        }
    )
    """As :meth:`Management.definitions` has it; only what is declared by it."""
    short_of: tuple[str, ...] = ()
    smoke_error: str = ""
    certificate: tuple[str, str, str] | None = None

    # The module rabbitmq

    AMQP_PORT, MANAGEMENT_PORT, ADMIN = rabbitmq.AMQP_PORT, rabbitmq.MANAGEMENT_PORT, rabbitmq.ADMIN
    AMQPS_PORT = rabbitmq.AMQPS_PORT
    LOG_DIRECTORY, RabbitmqError, Settings = rabbitmq.LOG_DIRECTORY, rabbitmq.RabbitmqError, rabbitmq.Settings

    def install(self) -> bool:
        changed, self.installed = not self.installed, True
        return changed

    def configure(self, settings: rabbitmq.Settings) -> None:
        self.settings = settings

    def ensure_certificate(self, certificate: str, key: str, ca: str) -> None:
        self.certificate = (certificate, key, ca)

    def kept_ca(self) -> str:
        return self.certificate[2] if self.certificate else ""

    def remove_certificate(self) -> None:
        self.certificate = None

    def start(self, *, restart: bool) -> bool:
        if self.is_running and not restart and self.settings == self.started_from:
            return False
        self.started_from = self.settings
        self.is_running, self.starts = True, self.starts + 1
        return True

    def stop(self) -> None:
        self.is_running = False

    def running(self) -> bool:
        return self.is_running

    def ensure_admin(self, settings: rabbitmq.Settings, password: str) -> bool:
        self.admin_password = password
        return True

    def connect(self, settings: rabbitmq.Settings, password: str) -> "FakeBroker":
        if not self.is_running or password != self.admin_password:
            raise ManagementError("connection refused")
        return self

    def cluster_status(self) -> dict[str, object]:
        if not self.is_running:
            raise rabbitmq.RabbitmqError("rabbitmqctl cluster_status failed: nodedown")
        listener = {"protocol": "amqp", "interface": "127.0.0.1", "port": 5672, "purpose": "AMQP 0-9-1"}
        node = "rabbit@localhost"
        return {
            "cluster_name": "rabbitmq",
            "running_nodes": [node],
            "alarms": [],
            "partitions": {},
            "listeners": {node: [listener]},
        }

    # The class Management

    def version(self) -> str:
        return "3.10.8"

    def alarms(self) -> tuple[str, ...]:
        return self.short_of

    def queues(self, pattern: str = "") -> list[Queue]:
        return [queue for queue in self.found if re.search(pattern, queue.name)]

    def ensure_vhost(self, vhost: str, limits: Limits) -> bool:
        changed = self.vhosts.get(vhost) != limits
        self.vhosts[vhost] = limits
        return changed

    def ensure_commands(self, vhost: str, keys: list[str], limits: Limits) -> bool:
        assert limits == self.vhosts[vhost]
        self.commands[vhost] = keys
        return True

    def ensure_nodes(self, vhost: str, keys: list[str], limits: Limits) -> bool:
        assert limits == self.vhosts[vhost]
        self.nodes[vhost] = keys
        return True

    def ensure_user(self, name: str, password: str) -> bool:
        changed = self.users.get(name) != password
        self.users[name] = password
        return changed

    def ensure_permissions(self, vhost: str, user: str, permissions: Permissions) -> bool:
        if vhost not in {"/", *self.vhosts} or user not in {rabbitmq.ADMIN, *self.users}:
            raise ManagementError(f"no such vhost or user: {vhost}, {user}")
        self.permissions[vhost, user] = permissions
        return True

    def ensure_topic_permissions(self, vhost: str, user: str, wanted: Mapping[str, TopicPermissions]) -> bool:
        assert (vhost, user) in self.permissions
        self.topic_permissions[vhost, user] = wanted
        return True

    def ensure_only_vhosts(self, user: str, vhosts: set[str]) -> bool:
        stale = {key for key in self.permissions if key[1] == user and key[0] not in vhosts}
        for key in stale:
            del self.permissions[key]
        return bool(stale)

    def ensure_only_users(self, names: set[str]) -> set[str]:
        stale = self.users.keys() - names
        for name in stale:
            del self.users[name]
        return stale

    def definitions(self) -> dict[str, list[dict[str, Any]]]:
        return self.declared

    def declare(self, definitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        for kind, entries in definitions.items():
            same = {"users": ["name"], "permissions": ["user", "vhost"]}.get(kind)
            for entry in entries:
                if same:
                    self._remove(kind, **{key: entry[key] for key in same})
                self.declared[kind].append(dict(entry))

    def delete_users(self, names: Iterable[str]) -> None:
        for name in names:
            self._remove("users", name=name)
            self._remove("permissions", user=name)
            self._remove("topic_permissions", user=name)

    def delete_permissions(self, vhost: str, user: str) -> None:
        self._remove("permissions", vhost=vhost, user=user)
        self._remove("topic_permissions", vhost=vhost, user=user)

    def delete_queues(self, queues: Iterable[tuple[str, str]]) -> None:
        for vhost, queue in queues:
            self._remove("queues", vhost=vhost, name=queue)
            self._remove("bindings", vhost=vhost, destination=queue)

    def delete_bindings(self, exchange: str, bindings: Iterable[tuple[str, str, str]]) -> None:
        for vhost, queue, key in bindings:
            self._remove("bindings", vhost=vhost, source=exchange, destination=queue, routing_key=key)

    def _remove(self, kind: str, **like: str) -> None:
        self.declared[kind] = [
            entry for entry in self.declared[kind] if any(entry[key] != value for key, value in like.items())
        ]

    # The module smoke

    SmokeTestError, Target = smoke.SmokeTestError, smoke.Target

    def smoke_test(self, target: smoke.Target, vhosts: tuple[str, ...]) -> float:
        if self.smoke_error:
            raise smoke.SmokeTestError(self.smoke_error)
        assert (target.username, target.password) == (rabbitmq.ADMIN, self.admin_password)
        return 0.0012


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(charm, "rabbitmq", fake)
    monkeypatch.setattr(charm, "smoke", fake)
    return fake


@pytest.fixture
def context() -> testing.Context[charm.RabbitmqCharm]:
    return testing.Context(charm.RabbitmqCharm)


@pytest.fixture
def installed(broker: FakeBroker, context: testing.Context[charm.RabbitmqCharm]) -> testing.State:
    """The state after the first hook, without relations."""
    return context.run(context.on.install(), testing.State(leader=True))


@pytest.fixture
def flume() -> testing.Relation:
    asked = {"username": "flume", "vhost": "iot", "access": "consume"}
    return testing.Relation("amqp", remote_app_name="flume-rabbitmq", remote_units_data={0: asked})


@pytest.fixture
def gateway() -> testing.Relation:
    asked = {"username": "gateway", "vhost": "iot", "access": "publish"}
    return testing.Relation("amqp", remote_app_name="gateway", remote_units_data={0: asked})
