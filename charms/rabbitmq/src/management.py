"""A client of RabbitMQ's management HTTP API: what the charm wants is declared, and declared again without effect.

Paths and bodies as in ``/api/index.html`` of the broker's management page.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import requests

import topology
from topology import GatewayQueues, Permissions, TopicPermissions

TAG: Final = "juju"
"""Marks the users that the charm made, so that it never removes one that an operator made."""

_TIMEOUT_S = 30.0
_SIDE_BY_SIDE = 4
"""Connections for what takes many requests, 10 ms each over a single one."""


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
        self._url = url
        self._api = f"{url}/api"
        self._username = username
        self._password = password
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

    def queues(self, pattern: str = "") -> list[Queue]:
        """Return the queues, sorted; of thousands, some come much sooner than all.

        Args:
            pattern: only those whose name matches this regular expression, and no more than 500 of them.
        """
        only = f"?page=1&page_size=500&use_regex=true&name={quote(pattern, safe='')}" if pattern else ""
        answer = self._get(f"queues{only}")
        found = answer["items"] if pattern else answer
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
                for queue in found
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
        return self._ensure_gateway_queues(vhost, topology.COMMANDS, keys, limits.commands_policy)

    def ensure_nodes(self, vhost: str, keys: Iterable[str], limits: topology.Limits) -> bool:
        """Give each of some gateways its queue of what nodes publish, as :meth:`ensure_commands` does."""
        return self._ensure_gateway_queues(vhost, topology.NODES, keys, limits.nodes_policy)

    def _ensure_gateway_queues(
        self, vhost: str, queues: GatewayQueues, keys: Iterable[str], policy: Mapping[str, Any]
    ) -> bool:
        host = quote(vhost, safe="")
        wanted = {"pattern": queues.pattern, "apply-to": "queues", "definition": policy, "priority": 0}
        changed = self._ensure(f"policies/{host}/{quote(queues.exchange)}", wanted)
        for key in keys:
            queue = queues.queue(key)
            wanted = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
            changed |= self._ensure(f"queues/{host}/{quote(queue)}", wanted)
            changed |= self._ensure_binding(host, queues.exchange, queue, queues.binding(key))
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
        self._request("PUT", f"users/{quote(name)}", {"password": password, "tags": TAG}, secret=True)
        return True

    def ensure_permissions(self, vhost: str, user: str, permissions: Permissions) -> bool:
        """Set what ``user`` may do in ``vhost``.

        Returns:
            Whether anything changed.
        """
        return self._ensure(f"permissions/{quote(vhost, safe='')}/{quote(user)}", vars(permissions))

    def ensure_topic_permissions(self, vhost: str, user: str, wanted: Mapping[str, TopicPermissions]) -> bool:
        """Set which routing keys of which exchanges ``user`` may use in ``vhost``; other exchanges have no such limit.

        Returns:
            Whether anything changed.
        """
        path = f"topic-permissions/{quote(vhost, safe='')}/{quote(user)}"
        found = {entry["exchange"]: TopicPermissions(entry["write"], entry["read"]) for entry in self._find(path) or ()}
        if found == wanted:
            return False
        if found.keys() - wanted.keys():
            self._request("DELETE", path)
        for exchange, permissions in wanted.items():
            self._request("PUT", path, {"exchange": exchange, **vars(permissions)})
        return True

    def ensure_only_vhosts(self, user: str, vhosts: set[str]) -> bool:
        """Take ``user``'s permissions in all virtual hosts but these away.

        Returns:
            Whether anything changed.
        """
        stale = {str(entry["vhost"]) for entry in self._get(f"users/{quote(user)}/permissions")} - vhosts
        for vhost in stale:
            self.delete_permissions(vhost, user)
        return bool(stale)

    def delete_permissions(self, vhost: str, user: str) -> None:
        """Let ``user`` do nothing in ``vhost`` any more."""
        for kind in ("permissions", "topic-permissions"):
            self._request("DELETE", f"{kind}/{quote(vhost, safe='')}/{quote(user)}", accept=(404,))

    def ensure_only_users(self, names: set[str]) -> set[str]:
        """Remove the charm's users but these; the broker closes their connections.

        Returns:
            The names of those removed.
        """
        stale = {str(user["name"]) for user in self._get("users") if TAG in user["tags"]} - names
        for name in stale:
            self._request("DELETE", f"users/{quote(name)}")
        return stale

    def definitions(self) -> dict[str, list[dict[str, Any]]]:
        """Return all that is declared, in one listing: ``users``, ``permissions``, ``queues`` and so on."""
        return self._get("definitions")

    def declare(self, definitions: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Declare what is in a listing such as :meth:`definitions`, in one request; all else stays as it is."""
        self._request("POST", "definitions", definitions, secret="users" in definitions)

    def delete_users(self, names: Iterable[str]) -> None:
        """Remove users in one request; the broker closes their connections."""
        self._request("POST", "users/bulk-delete", {"users": list(names)})

    def delete_queues(self, queues: Iterable[tuple[str, str]]) -> None:
        """Remove queues, each of a virtual host, with what they hold."""
        self._delete_all([f"queues/{quote(vhost, safe='')}/{quote(queue)}" for vhost, queue in queues])

    def delete_bindings(self, exchange: str, bindings: Iterable[tuple[str, str, str]]) -> None:
        """Remove bindings of queues to an exchange.

        Args:
            exchange: of all of them.
            bindings: virtual host, queue, and a routing key of letters, digits, ``_``, ``-`` and full stops alone.
        """
        self._delete_all(
            [
                f"bindings/{quote(vhost, safe='')}/e/{quote(exchange)}/q/{quote(queue)}/{quote(key)}"
                for vhost, queue, key in bindings
            ]
        )

    def _delete_all(self, paths: Sequence[str]) -> None:
        """Delete things that may be gone already, over some connections: there is no request for many of them."""

        def delete(some: Sequence[str]) -> None:
            other = Management(self._url, self._username, self._password)
            with other._session:
                for path in some:
                    other._request("DELETE", path, accept=(404,))

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as threads:
            for _ in threads.map(delete, (paths[start::_SIDE_BY_SIDE] for start in range(_SIDE_BY_SIDE))):
                pass

    def _ensure(self, path: str, wanted: Mapping[str, Any]) -> bool:
        found = self._find(path)
        if found is not None and all(found.get(key) == value for key, value in wanted.items()):
            return False
        self._request("PUT", path, wanted)
        return True

    def _get(self, path: str) -> Any:
        return self._request("GET", path).json()

    def _find(self, path: str) -> Any:
        """Return what is there, None where nothing is."""
        answer = self._request("GET", path, accept=(404,))
        return None if answer.status_code == 404 else answer.json()

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: tuple[int, ...] = (),
        secret: bool = False,
    ) -> requests.Response:
        try:
            answer = self._session.request(method, f"{self._api}/{path}", json=body, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise ManagementError(f"RabbitMQ's management API does not answer: {error}") from error
        if answer.status_code == 401:
            raise UnauthorizedError(f"RabbitMQ does not accept the password of {self._username}")
        if not answer.ok and answer.status_code not in accept:
            # What it says of a body may repeat it, passwords and hashes of them included; the text gets into logs.
            reason = ", see RabbitMQ's log" if secret else f" {answer.text.strip()}"
            raise ManagementError(f"RabbitMQ refused {method} {path}: {answer.status_code}{reason}")
        return answer


def _has_password(user: Mapping[str, Any], password: str) -> bool:
    """Tell whether the hash of RabbitMQ's is of this password: base64(salt of 4 bytes + SHA-256(salt + password))."""
    if user.get("hashing_algorithm") != "rabbit_password_hashing_sha256":
        return False
    stored = base64.b64decode(user["password_hash"])
    return stored[4:] == hashlib.sha256(stored[:4] + password.encode()).digest()
