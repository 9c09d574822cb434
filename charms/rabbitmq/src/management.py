"""A client of RabbitMQ's management HTTP API: what the charm wants is declared, and declared again without effect.

Paths and bodies as in ``/api/index.html`` of the broker's management page.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests

import topology
from topology import Permissions

TAG: Final = "juju"
"""Marks the users that the charm made, so that it never removes one that an operator made."""

_TIMEOUT_S = 30.0


class ManagementError(Exception):
    """The broker does not answer, or refuses; the text says what was asked and why it was refused."""


class UnauthorizedError(ManagementError):
    """The broker does not accept the credentials."""


@dataclass(frozen=True)
class Queue:
    """A queue as the broker last sampled it (every 5 s)."""

    vhost: str
    name: str
    type: str
    ready: int
    unacknowledged: int
    consumers: int
    bytes: int


class Management:
    """The management API at ``url`` (such as ``http://10.1.2.3:15672``), as an administrator."""

    def __init__(self, url: str, username: str, password: str):
        self._api = f"{url}/api"
        self._username = username
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between a machine and itself
        self._session.auth = (username, password)

    def whoami(self) -> str:
        """Return the name of the user.

        Raises:
            UnauthorizedError: the credentials are wrong or the user is no administrator.
        """
        return str(self._get("whoami")["name"])

    def version(self) -> str:
        """Return RabbitMQ's version."""
        return str(self._get("overview")["rabbitmq_version"])

    def alarms(self) -> tuple[str, ...]:
        """Return the resources (``memory``, ``disk``) that ran short, for which the broker blocks publishers."""
        answer = self._request("GET", "health/checks/alarms", accept=(503,)).json()
        return tuple(sorted({str(alarm["resource"]) for alarm in answer.get("alarms", ())}))

    def queues(self) -> list[Queue]:
        """Return all queues, sorted."""
        return sorted(
            (
                Queue(
                    vhost=queue["vhost"],
                    name=queue["name"],
                    type=queue.get("type", "classic"),
                    ready=queue.get("messages_ready", 0),  # a queue that was never sampled has no counts
                    unacknowledged=queue.get("messages_unacknowledged", 0),
                    consumers=queue.get("consumers", 0),
                    bytes=queue.get("message_bytes", 0),
                )
                for queue in self._get("queues")
            ),
            key=lambda queue: (queue.vhost, queue.name),
        )

    def ensure_vhost(self, vhost: str, limits: topology.Limits) -> bool:
        """Make a virtual host with the topology for telemetry.

        Returns:
            Whether anything changed.

        Raises:
            ManagementError: also where an exchange or queue of that name, but another type, exists.
        """
        host = quote(vhost, safe="")
        changed = self._ensure(f"vhosts/{host}", {})
        changed |= self.ensure_permissions(vhost, self._username, topology.FULL)
        for name, policy in limits.policies().items():
            wanted = {"pattern": topology.exactly(name), "apply-to": "queues", "definition": policy, "priority": 0}
            changed |= self._ensure(f"policies/{host}/{quote(name)}", wanted)
        for name, kind in topology.EXCHANGES.items():
            changed |= self._ensure(f"exchanges/{host}/{quote(name)}", {"type": kind, "durable": True})
        for name, kind in topology.QUEUES.items():
            wanted = {"durable": True, "arguments": {"x-queue-type": kind}}
            changed |= self._ensure(f"queues/{host}/{quote(name)}", wanted)
        for exchange, queue, key in topology.BINDINGS:
            changed |= self._ensure_binding(host, exchange, queue, key)
        return changed

    def ensure_commands(self, vhost: str, keys: Iterable[str], limits: topology.Limits) -> bool:
        """Give each of some gateways its queue of commands; ``keys`` are ``<site>.<gateway>``.

        Queues of other gateways stay: what they hold is to be delivered some day.

        Returns:
            Whether anything changed.
        """
        host = quote(vhost, safe="")
        exchange = topology.COMMANDS_EXCHANGE
        policy = {
            "pattern": topology.COMMANDS_QUEUES,
            "apply-to": "queues",
            "definition": limits.commands_policy,
            "priority": 0,
        }
        changed = self._ensure(f"policies/{host}/{quote(exchange)}", policy)
        for key in keys:
            queue = topology.commands_queue(key)
            wanted = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
            changed |= self._ensure(f"queues/{host}/{quote(queue)}", wanted)
            changed |= self._ensure_binding(host, exchange, queue, key)
        return changed

    def _ensure_binding(self, host: str, exchange: str, queue: str, key: str) -> bool:
        path = f"bindings/{host}/e/{quote(exchange)}/q/{quote(queue)}"
        if any(binding["routing_key"] == key for binding in self._get(path)):
            return False
        self._request("POST", path, {"routing_key": key})
        return True

    def ensure_user(self, name: str, password: str) -> bool:
        """Make a user of the charm's with this password.

        Returns:
            Whether anything changed.
        """
        found = self._find(f"users/{quote(name)}")
        if found and TAG in found["tags"] and _has_password(found, password):
            return False
        self._request("PUT", f"users/{quote(name)}", {"password": password, "tags": TAG})
        return True

    def ensure_permissions(self, vhost: str, user: str, permissions: Permissions) -> bool:
        """Set what ``user`` may do in ``vhost``.

        Returns:
            Whether anything changed.
        """
        return self._ensure(f"permissions/{quote(vhost, safe='')}/{quote(user)}", vars(permissions))

    def ensure_only_vhosts(self, user: str, vhosts: set[str]) -> bool:
        """Take ``user``'s permissions in all virtual hosts but these away.

        Returns:
            Whether anything changed.
        """
        stale = {str(entry["vhost"]) for entry in self._get(f"users/{quote(user)}/permissions")} - vhosts
        for vhost in stale:
            self._request("DELETE", f"permissions/{quote(vhost, safe='')}/{quote(user)}")
        return bool(stale)

    def ensure_only_users(self, names: set[str]) -> set[str]:
        """Remove the charm's users but these; the broker closes their connections.

        Returns:
            The names of those removed.
        """
        stale = {str(user["name"]) for user in self._get("users") if TAG in user["tags"]} - names
        for name in stale:
            self._request("DELETE", f"users/{quote(name)}")
        return stale

    def _ensure(self, path: str, wanted: Mapping[str, Any]) -> bool:
        found = self._find(path)
        if found is not None and all(found.get(key) == value for key, value in wanted.items()):
            return False
        self._request("PUT", path, wanted)
        return True

    def _get(self, path: str) -> Any:
        return self._request("GET", path).json()

    def _find(self, path: str) -> dict[str, Any] | None:
        answer = self._request("GET", path, accept=(404,))
        return None if answer.status_code == 404 else answer.json()

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, accept: tuple[int, ...] = ()
    ) -> requests.Response:
        try:
            answer = self._session.request(method, f"{self._api}/{path}", json=body, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise ManagementError(f"RabbitMQ's management API does not answer: {error}") from error
        if answer.status_code == 401:
            raise UnauthorizedError(f"RabbitMQ does not accept the password of {self._username}")
        if not answer.ok and answer.status_code not in accept:
            raise ManagementError(f"RabbitMQ refused {method} {path}: {answer.status_code} {answer.text.strip()}")
        return answer


def _has_password(user: Mapping[str, Any], password: str) -> bool:
    """Tell whether the hash of RabbitMQ's is of this password: base64(salt of 4 bytes + SHA-256(salt + password))."""
    if user.get("hashing_algorithm") != "rabbit_password_hashing_sha256":
        return False
    stored = base64.b64decode(user["password_hash"])
    return stored[4:] == hashlib.sha256(stored[:4] + password.encode()).digest()
