"""Users of nodes that speak AMQP: thousands of them, made and removed by their differences from what there is.

A node's user publishes to its own routing keys of one exchange and reads the one queue of commands to it; see
:mod:`topology`. What the broker has comes in one listing, and what it lacks goes in few requests: one for each entry
would take minutes for thousands of nodes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import topology
from iot_charm import progress
from management import Management
from topology import NODE_COMMANDS_EXCHANGE, NODES_EXCHANGE

TAG: Final = "juju-node"
"""Marks the users of nodes, so that none that an operator made is ever removed. It permits nothing."""

T = TypeVar("T")
Entry = dict[str, Any]
"""An entry of a listing of RabbitMQ's definitions."""

_HASHING: Final = "rabbit_password_hashing_sha256"
_LIMITS: Final = {"max-connections": 10, "max-channels": 100}
"""Of each user: a node that connects without end must not take the connections of all others. A node has one; those
that it lost its network over are there until their heartbeats are missed."""
_AT_ONCE: Final = 500
"""Entries in a request: far fewer than a busy broker sees to before the request times out."""
_QUEUES = f"{NODE_COMMANDS_EXCHANGE}."


@dataclass(frozen=True)
class GatewayNodes:
    """The nodes that a gateway's unit lets in by AMQP."""

    username: str
    """Of the gateway's own user."""
    vhost: str
    key: str
    """``<site>.<gateway>``."""
    password_hashes: Mapping[str, str] | None
    """Node -> hash of its password; None where that can't be read: its nodes stay as they are."""
    is_new: bool = False
    """Whether the hashes are others than the broker was told before."""


@dataclass(frozen=True)
class Changes:
    """What was done."""

    made: int
    """Users, also those made anew."""
    removed: int
    """Users, also those made anew."""


def ensure_node_users(
    management: Management, asked: Sequence[GatewayNodes], unheard: Collection[str] = frozenset()
) -> Changes:
    """Have the users that are asked for, and no other; connections of those removed are closed.

    A user whose password is another is removed and made anew, so that whoever knows the former one is cut off.

    Args:
        management: of the broker.
        asked: what units ask for.
        unheard: the names of gateways' users for which a unit asks that can't be understood: the nodes that they have
            at gateways that no unit names stay as they are.

    Raises:
        ManagementError: the broker refuses.
    """
    found = _Found(management.definitions())
    wanted = {user.name: user for user in found.wanted([*asked, *found.of_unheard(asked, unheard)])}
    gone = [name for name in found.users if found.is_outdated(name, wanted.get(name))]
    found.forget(gone)
    entries = _Entries(wanted.values())
    missing = entries.missing(found)
    stale_queues = found.queues - entries.queues.keys()
    stale_bindings = {binding for binding in found.bindings - entries.bindings.keys() if binding[:2] in entries.queues}
    if len(gone) + len(missing["users"]) > _AT_ONCE:
        progress.announce(f"Telling RabbitMQ of nodes: {len(missing['users']):,} to make, {len(gone):,} to remove")
    elif len(stale_bindings) > _AT_ONCE:
        progress.announce(f"Telling RabbitMQ that {len(stale_bindings):,} nodes are of one gateway less")
    for names in _pieces(gone):
        management.delete_users(names)
    for user, vhost in found.permissions.keys() - entries.permissions.keys():
        management.delete_permissions(vhost, user)
    for kind, listed in missing.items():
        for piece in _pieces(listed):
            management.declare({kind: piece})
    # Last, for it takes longest: by then nobody may use them any more.
    management.delete_queues(stale_queues)
    management.delete_bindings(NODE_COMMANDS_EXCHANGE, stale_bindings)
    return Changes(made=len(missing["users"]), removed=len(gone))


def _pieces(entries: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(entries), _AT_ONCE):
        yield entries[start : start + _AT_ONCE]


class _Found:
    """What the broker has of users of nodes."""

    def __init__(self, definitions: Mapping[str, list[Entry]]):
        self.users = {user["name"]: user for user in definitions["users"] if TAG in user["tags"]}
        self.permissions = {
            (entry["user"], entry["vhost"]): entry
            for entry in definitions["permissions"]
            if entry["user"] in self.users
        }
        self.topic_permissions = {
            (entry["user"], entry["vhost"], entry["exchange"]): entry for entry in definitions["topic_permissions"]
        }
        self.queues = {
            (queue["vhost"], queue["name"]) for queue in definitions["queues"] if queue["name"].startswith(_QUEUES)
        }
        self.bindings = {
            (binding["vhost"], binding["destination"], binding["routing_key"])
            for binding in definitions["bindings"]
            if binding["source"] == NODE_COMMANDS_EXCHANGE and binding["destination"].startswith(_QUEUES)
        }

    def forget(self, names: Iterable[str]) -> None:
        """Leave users out that were removed; their permissions went with them."""
        gone = set(names)
        self.users = {name: user for name, user in self.users.items() if name not in gone}
        self.permissions = {key: entry for key, entry in self.permissions.items() if key[0] not in gone}
        self.topic_permissions = {key: entry for key, entry in self.topic_permissions.items() if key[0] not in gone}

    def wanted(self, asked: Iterable[GatewayNodes]) -> list["_Wanted"]:
        """Return the users that units ask for together."""
        wanted: dict[str, _Wanted] = {}
        for each in asked:
            hashes = self._kept(each) if each.password_hashes is None else each.password_hashes
            for node, password_hash in hashes.items():
                name = topology.node_user(each.username, node)
                user = wanted.setdefault(name, _Wanted(name, node, self._hash(name)))
                user.add(each, password_hash)
        return [*wanted.values()]

    def of_unheard(self, asked: Iterable[GatewayNodes], usernames: Collection[str]) -> Iterator[GatewayNodes]:
        """Stand in for units that can't be heard, at each gateway with nodes that nobody asks for."""
        heard = {(each.vhost, each.key) for each in asked}
        for vhost, gateway in {(vhost, key.rpartition(".")[0]) for vhost, _, key in self.bindings} - heard:
            for username in usernames:
                yield GatewayNodes(username, vhost, gateway, None)

    def is_outdated(self, name: str, wanted: "_Wanted | None") -> bool:
        """Tell whether a user is to go, or to be made anew with another password."""
        return wanted is None or wanted.password_hash != self._hash(name)

    def _hash(self, name: str) -> str:
        user = self.users.get(name)
        return user["password_hash"] if user and user["hashing_algorithm"] == _HASHING else ""

    def _kept(self, asked: GatewayNodes) -> dict[str, str]:
        """Return the nodes that a unit asked for before, by what their queues are bound by."""
        kept: dict[str, str] = {}
        for vhost, queue, key in self.bindings:
            gateway, _, node = key.rpartition(".")
            name = topology.node_user(asked.username, node)
            of_unit = (vhost, gateway, queue) == (asked.vhost, asked.key, topology.node_commands_queue(name))
            if of_unit and name in self.users:
                kept[node] = self._hash(name)
        return kept


class _Wanted:
    """A user that there is to be.

    Units of an application name the same password, but not at the same moment after it was changed, and one that is
    out of reach does not. So the one that counts is what a unit names newly, else the one that the broker has.
    """

    def __init__(self, name: str, node: str, current_hash: str):
        self.name = name
        self.node = node
        self.password_hash = ""
        self.keys: dict[str, set[str]] = defaultdict(set)
        """Virtual host -> ``<site>.<gateway>`` of those that the node is of."""
        self._current_hash = current_hash
        self._rank = -1

    def add(self, asked: GatewayNodes, password_hash: str) -> None:
        """Take in what a unit asks for."""
        self.keys[asked.vhost].add(asked.key)
        rank = 1 if password_hash == self._current_hash else 2 if asked.is_new else 0
        if rank > self._rank:
            self._rank, self.password_hash = rank, password_hash


class _Entries:
    """What the broker is to have for users of nodes."""

    def __init__(self, wanted: Iterable[_Wanted]):
        self.users: dict[str, Entry] = {}
        self.permissions: dict[tuple[str, str], Entry] = {}
        self.topic_permissions: dict[tuple[str, str, str], Entry] = {}
        self.queues: dict[tuple[str, str], Entry] = {}
        self.bindings: dict[tuple[str, str, str], Entry] = {}
        for user in wanted:
            self._add(user)

    def _add(self, user: _Wanted) -> None:
        name, queue = user.name, topology.node_commands_queue(user.name)
        self.users[name] = {
            "name": name,
            "password_hash": user.password_hash,
            "hashing_algorithm": _HASHING,
            "tags": [TAG],
            "limits": _LIMITS,
        }
        for vhost, keys in user.keys.items():
            of_user = {"user": name, "vhost": vhost}
            self.permissions[name, vhost] = {**of_user, **vars(topology.node_permissions(name))}
            self.topic_permissions[name, vhost, NODES_EXCHANGE] = {
                **of_user,
                "exchange": NODES_EXCHANGE,
                **vars(topology.node_topic_permissions(user.node, keys)),
            }
            self.queues[vhost, queue] = {
                "name": queue,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "classic"},
            }
            for key in keys:
                routing_key = f"{key}.{user.node}"
                self.bindings[vhost, queue, routing_key] = {
                    "source": NODE_COMMANDS_EXCHANGE,
                    "vhost": vhost,
                    "destination": queue,
                    "destination_type": "queue",
                    "routing_key": routing_key,
                    "arguments": {},
                }

    def missing(self, found: _Found) -> dict[str, list[Entry]]:
        """Return what the broker lacks, as a listing, in the order in which it is to be declared."""
        return {
            "users": [
                entry
                for key, entry in self.users.items()
                if key not in found.users or found.users[key].get("limits") != _LIMITS
            ],
            "permissions": [entry for key, entry in self.permissions.items() if found.permissions.get(key) != entry],
            "topic_permissions": [
                entry for key, entry in self.topic_permissions.items() if found.topic_permissions.get(key) != entry
            ],
            "queues": [entry for key, entry in self.queues.items() if key not in found.queues],
            "bindings": [entry for key, entry in self.bindings.items() if key not in found.bindings],
        }
