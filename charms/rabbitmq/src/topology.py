"""What the broker holds for telemetry in each virtual host, and who may do what with it. No I/O.

What may change while the broker runs (limits, where dead letters go) is a policy and not an argument of the queue:
RabbitMQ refuses to declare an existing queue with other arguments.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

Access = Literal["publish", "consume", "command", "full"]

EXCHANGE = "iot.telemetry"
QUEUE = "iot.telemetry"
STREAM = "iot.telemetry.stream"
DEAD_LETTER_EXCHANGE = "iot.dead-letters"
DEAD_LETTER_QUEUE = "iot.dead-letters"
COMMANDS_EXCHANGE = "iot.commands"
"""Commands to gateways, by the routing key ``<site>.<gateway>``."""
NODES_EXCHANGE = "iot.nodes"
"""What nodes publish that speak AMQP, by the routing key ``<site>.<gateway>.<node>``, with more words or none."""
NODE_COMMANDS_EXCHANGE = "iot.node-commands"
"""Commands to such nodes, by the routing key ``<site>.<gateway>.<node>``; each node has a queue of its own."""

EXCHANGES = {
    EXCHANGE: "topic",
    DEAD_LETTER_EXCHANGE: "fanout",
    COMMANDS_EXCHANGE: "topic",
    NODES_EXCHANGE: "topic",
    NODE_COMMANDS_EXCHANGE: "topic",
}
QUEUES = {QUEUE: "quorum", STREAM: "stream", DEAD_LETTER_QUEUE: "quorum"}
BINDINGS = ((EXCHANGE, QUEUE, "#"), (EXCHANGE, STREAM, "#"), (DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, "#"))

_SEGMENT_BYTES = 100_000_000


@dataclass(frozen=True)
class Limits:
    """What the operator sets."""

    delivery_limit: int
    stream_max_bytes: int
    stream_max_age: str
    nodes_max_bytes: int

    @property
    def commands_policy(self) -> dict[str, Any]:
        """The definition of the policy for all queues of commands."""
        return self._kept_until_taken

    @property
    def nodes_policy(self) -> dict[str, Any]:
        """The definition of the policy for all queues of what nodes publish: a full one refuses."""
        return {**self._kept_until_taken, "max-length-bytes": self.nodes_max_bytes}

    @property
    def _kept_until_taken(self) -> dict[str, Any]:
        return {
            "dead-letter-exchange": DEAD_LETTER_EXCHANGE,
            # A dead letter leaves the queue only after the dead-letter queue has confirmed it; that needs this
            # overflow behaviour, which rejects nothing while the queue has no maximum length.
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
            "delivery-limit": self.delivery_limit,
        }

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return the policies: name, which is also the name of the one queue it applies to -> definition."""
        return {
            QUEUE: self._kept_until_taken,
            STREAM: {
                "max-length-bytes": self.stream_max_bytes,
                "max-age": self.stream_max_age,
                # Retention drops whole segments, so a small stream needs small ones.
                "stream-max-segment-size-bytes": min(_SEGMENT_BYTES, self.stream_max_bytes // 4),
            },
        }


@dataclass(frozen=True)
class GatewayQueues:
    """An exchange that has a quorum queue for each gateway: ``<exchange>.<site>.<gateway>``."""

    exchange: str
    more: str = ""
    """What may follow a gateway's ``<site>.<gateway>`` in the routing keys that its queue is bound by."""

    @property
    def pattern(self) -> str:
        """A regular expression that matches the names of these queues alone."""
        return rf"^{re.escape(self.exchange)}\."

    def queue(self, key: str) -> str:
        """Return the name of a gateway's queue; ``key`` is ``<site>.<gateway>``."""
        return f"{self.exchange}.{key}"

    def binding(self, key: str) -> str:
        """Return the routing key that a gateway's queue is bound by."""
        return f"{key}{self.more}"


COMMANDS = GatewayQueues(COMMANDS_EXCHANGE)
NODES = GatewayQueues(NODES_EXCHANGE, more=".#")


@dataclass(frozen=True)
class Permissions:
    """Regular expressions over the names of exchanges and queues, as RabbitMQ has them; ``^$`` permits nothing."""

    configure: str
    write: str
    read: str


@dataclass(frozen=True)
class TopicPermissions:
    """Regular expressions over the routing keys of one topic exchange."""

    write: str
    read: str


FULL = Permissions(".*", ".*", ".*")


def permissions(
    access: Iterable[Access], commands: Iterable[str] = (), nodes: Collection[str] = frozenset()
) -> Permissions:
    """Return what users with these kinds of access together need, and no more.

    A publisher writes to the exchanges of readings and dead letters, reads the queues of ``commands`` (keys) that are
    its own, and gives commands to its ``nodes`` (keys), whose queues it reads. A consumer reads from the queues:
    RabbitMQ asks for ``read`` on the queue for ``basic.consume`` and ``basic.get`` and for nothing to acknowledge or
    return. Neither declares anything: the JMS client declares no destination that is marked ``amqp``.
    """
    kinds = set(access)
    if "full" in kinds:
        return FULL
    written = [EXCHANGE, DEAD_LETTER_EXCHANGE] if "publish" in kinds else []
    written += [COMMANDS_EXCHANGE] if "command" in kinds else []
    written += [NODE_COMMANDS_EXCHANGE] if nodes else []
    read = [*QUEUES] if "consume" in kinds else []
    read += [COMMANDS.queue(key) for key in sorted(commands)]
    read += [NODES.queue(key) for key in sorted(nodes)]
    return Permissions(configure="^$", write=_any_of(written), read=_any_of(read))


def topic_permissions(access: Iterable[Access], nodes: Collection[str]) -> dict[str, TopicPermissions]:
    """Return the exchanges of which a gateway may not use every routing key: it commands nodes of its own alone."""
    if "full" in access or not nodes:
        return {}
    return {NODE_COMMANDS_EXCHANGE: TopicPermissions(write=rf"^({_alternatives(sorted(nodes))})\.", read="^$")}


def node_permissions(user: str) -> Permissions:
    """Return what a node's user needs: it publishes, and reads the commands to it."""
    return Permissions(configure="^$", write=exactly(NODES_EXCHANGE), read=exactly(node_commands_queue(user)))


def node_topic_permissions(node: str, keys: Iterable[str]) -> TopicPermissions:
    """Return the routing keys that a node may use; ``keys`` are ``<site>.<gateway>`` of the gateways that it is of."""
    gateways = _alternatives(sorted(keys))
    # A dollar sign matches before a last line feed as well.
    return TopicPermissions(write=rf"^({gateways})\.{re.escape(node)}(\..*)?$(?!\n)", read="^$")


def node_user(username: str, node: str) -> str:
    """Return the name of a node's user; ``username`` is its gateway's, which has no full stop in it."""
    return f"{username}.{node}"


def node_commands_queue(user: str) -> str:
    """Return the name of the queue of commands to a node; ``user`` is the node's user."""
    return f"{NODE_COMMANDS_EXCHANGE}.{user}"


def exactly(name: str) -> str:
    """Return a regular expression that matches ``name`` alone, in Erlang's syntax as in Python's."""
    return f"^{re.escape(name)}$"


def _any_of(names: Iterable[str]) -> str:
    listed = _alternatives(names)
    return f"^({listed})$" if listed else "^$"


def _alternatives(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in names)
