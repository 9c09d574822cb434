"""A gateway charm on a machine that is not there: the workload modules are faked, ops is not."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ops.testing

import relay
from amqp_route import Route
from iot_gateway.errors import NotRunningError
from relay_settings import Settings


@dataclass
class Machine:
    """What the charm did to the machine, and what it is told of it."""

    roster: relay.Roster = field(default_factory=relay.Roster)
    users: dict[str, str] = field(default_factory=dict)
    user_history: list[set[str]] = field(default_factory=list)
    topic_prefix: str | None = None
    commands_prefix: str | None = None
    relay_settings: Settings | None = None
    amqp_password: str = ""
    waited: int = 0
    mosquitto_runs: bool = True
    installed: Path | None = None
    stopped: list[str] = field(default_factory=list)
    status: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    taken_ports: set[int] = field(default_factory=set)

    def ensure_broker(self, topic_prefix: str, commands_prefix: str) -> None:
        assert self.installed is not None, "the relay's group is not there yet"
        self.topic_prefix, self.commands_prefix = topic_prefix, commands_prefix

    def ensure_nodes(self, roster: relay.Roster) -> None:
        self.roster = roster
        self.users = dict(roster.passwords)
        self.user_history.append(set(roster.passwords))

    def ensure_relay(self, settings: Settings, amqp_password: str, roster: relay.Roster) -> bool:
        changed = settings != self.relay_settings
        self.relay_settings = settings
        self.ensure_nodes(roster)
        self.amqp_password = amqp_password
        if self.status is None:
            self.status = relay_status()
        return changed

    def install(self, charm_dir: Path) -> None:
        self.installed = charm_dir

    def ensure_routes(self, routes: Iterable[Route]) -> None:
        self.routes = {route.name: route for route in routes}

    def is_open(self, name: str) -> bool:
        return name in self.routes and self.routes[name].port not in self.taken_ports

    def wait_until_connected(self, _timeout: float) -> bool:
        self.waited += 1
        return True

    def node_states(self) -> dict[str, dict[str, Any]]:
        if self.status is None:
            raise NotRunningError("no relay answers")
        return self.states

    def plan_buffer(self) -> dict[str, Any]:
        if self.plan is None:
            raise NotRunningError("no relay answers")
        return self.plan

    def relay_status(self) -> dict[str, Any]:
        if self.status is None:
            raise NotRunningError("no relay answers")
        return self.status


def outbox(**changes: Any) -> dict[str, Any]:
    figures = {"entries": 0, "bytes": 0, "oldest_seconds": 0.0, "dropped_total": {"bytes": 0, "age": 0}}
    return {**figures, **changes}


def relay_status(**changes: Any) -> dict[str, Any]:
    return {
        "received": 12,
        "readings": 24,
        "confirmed": 20,
        "malformed": 1,
        "dead_letters_total": 0,
        "behind_seconds": 1.5,
        "summary": "outbox empty",
        "refusal": None,
        "listeners": {"mqtt": {"connected": True, "error": None}},
        "uplink": {"connected": True, "blocked": False, "error": None, "commands": None},
        "forwarders": {"telemetry": {"error": None}},
        "outbox": {"telemetry": outbox(), "dead-letters": outbox()},
        "nodes": {"inbox": []},
        "commands": {"open": 0},
        "probes": {},
        **changes,
    }


BROKER_SECRET = ops.testing.Secret({"password": "amqp-password"}, id="secret:broker")


def amqp(**changes: str) -> ops.testing.Relation:
    answer = {
        "hostname": "10.0.0.2",
        "port": "5672",
        "password-secret": BROKER_SECRET.id,
        "batch-encoding": "gzip",
        **changes,
    }
    return ops.testing.Relation("amqp", remote_app_name="rabbitmq", remote_units_data={0: answer})


def mqtt(**nodes: str) -> ops.testing.Relation:
    """A relation with an application ``sensor-node``; ``u0="name"`` is what its unit 0 publishes."""
    units = {int(unit[1:]): ({"node": f'"{node}"'} if node else {}) for unit, node in nodes.items()}
    return ops.testing.Relation("mqtt", remote_app_name="sensor-node", remote_units_data=units)
