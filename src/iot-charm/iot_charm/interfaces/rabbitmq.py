"""``rabbitmq``: a user and a virtual host on a RabbitMQ broker.

The fields ``username``, ``vhost``, ``hostname`` and ``password`` are those of the public ``rabbitmq-server`` charm,
plain strings in the unit databags, so that it can stand in for ours. Ours never puts the password into the databag:
it answers ``password-secret``, the identifier of a secret with the key PASSWORD, and adds the names of the
topology that it declared.

A gateway's unit may ask for users of nodes besides, which speak AMQP to the broker themselves: their names and the
hashes of their passwords are in a secret of the unit's (:func:`encode_nodes`).
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from iot_charm.errors import InvalidDatabagError
from iot_charm.interfaces.databag import PlainDatabag
from iot_charm.interfaces.mqtt import NODE_NAME

PASSWORD = "password"
"""The key of the secret that holds the user's password."""
NODES = "nodes"
"""The key of the secret that holds what :func:`encode_nodes` makes."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""What a site or a gateway may be called: one word of a routing key."""
HOST = r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?"
"""A host name, or an address of either version of IP."""

_NODES = TypeAdapter(
    dict[
        Annotated[str, StringConstraints(pattern=f"^{NODE_NAME}$")],
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{48}$")],
    ]
)

BatchEncoding = Literal["gzip", "identity"]
"""How a batch of readings travels: as one gzip member (RFC 1952) or as it is. One setting of the whole chain."""


class RabbitmqRequest(PlainDatabag):
    """Published by each unit of a requirer."""

    username: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    vhost: str = Field(min_length=1, max_length=127)
    access: Literal["publish", "consume", "command", "full"] = "full"
    """What the user may do: publish readings and dead letters, consume them from the queues, give commands, or (as a
    charm that does not say, like a public one) configure, read and write everything in its virtual host."""
    commands: str = Field(default="", pattern=rf"^({NAME}\.{NAME})?$")
    """``<site>.<gateway>`` of a gateway that takes commands: it gets a queue of its own, and may read that one too."""
    nodes_secret: Annotated[str, Field(alias="nodes-secret")] = ""
    """Identifier of a secret, owned by the unit and granted on the relation, with the key NODES: the nodes that may
    speak AMQP. It needs ``commands``, which is the routing key of the unit's nodes as well. Empty for a gateway that
    lets no node in by AMQP: it gets no queue of nodes."""
    reached_at: Annotated[str, Field(alias="reached-at", pattern=rf"^({HOST}(,{HOST})*)?$")] = ""
    """Addresses and names, with commas between them, at which the unit's nodes reach the broker: its certificate is to
    hold them."""

    @property
    def reached(self) -> tuple[str, ...]:
        """What ``reached_at`` lists."""
        return tuple(name for name in self.reached_at.split(",") if name)


class RabbitmqAnswer(PlainDatabag):
    """Published by each unit of the broker, once the user exists and its permissions are set."""

    hostname: str
    port: int = Field(default=5672, ge=1, le=65535)
    ssl_port: int = Field(default=0, ge=0, le=65535)
    """For TLS; 0 where the broker offers none."""
    ssl_ca: str = ""
    """The authority of the broker's certificate, PEM in base64, as the public charm writes it."""
    password: str = ""
    """Only from a broker that has no secrets to give; never from ours."""
    password_secret: Annotated[str, Field(alias="password-secret")] = ""
    exchange: str = "iot.telemetry"
    """Topic exchange for batches of readings; routing key ``<site>.<gateway>``."""
    queue: str = "iot.telemetry"
    """Quorum queue bound to the exchange, drained by the batch layer."""
    stream: str = "iot.telemetry.stream"
    """Stream bound to the exchange, read by the speed layer."""
    dead_letter_exchange: Annotated[str, Field(alias="dead-letter-exchange")] = "iot.dead-letters"
    """Fanout exchange for payloads that could not be read, and for what a queue rejects."""
    dead_letter_queue: Annotated[str, Field(alias="dead-letter-queue")] = "iot.dead-letters"
    commands_exchange: Annotated[str, Field(alias="commands-exchange")] = ""
    """Topic exchange for commands; routing key ``<site>.<gateway>``. Empty where there is none."""
    commands_queues: Annotated[str, Field(alias="commands-queues")] = ""
    """The queues of commands that the user may read, with commas between: ``iot.commands.<site>.<gateway>``."""
    nodes_exchange: Annotated[str, Field(alias="nodes-exchange")] = ""
    """Topic exchange for nodes; routing key ``<site>.<gateway>.<node>``, with more words or none. Empty where there is
    none, as in a public charm."""
    nodes_queues: Annotated[str, Field(alias="nodes-queues")] = ""
    """The queues of what nodes publish that the user may read, with commas between: ``iot.nodes.<site>.<gateway>``."""
    nodes_served: Annotated[str, Field(alias="nodes-served")] = ""
    """Whose nodes the broker knows, with commas between: ``<unit>:<nodes_digest of what its secret held>``."""
    node_commands_exchange: Annotated[str, Field(alias="node-commands-exchange")] = ""
    """Topic exchange for commands to nodes; routing key ``<site>.<gateway>.<node>``."""
    batch_encoding: Annotated[BatchEncoding, Field(alias="batch-encoding")] = "gzip"

    @property
    def ca(self) -> str:
        """The authority of the broker's certificate, PEM; empty where it offers no TLS that can be verified.

        Raises:
            InvalidDatabagError: ``ssl_ca`` can't be decoded.
        """
        if not self.ssl_port or not self.ssl_ca:
            return ""
        try:
            return base64.b64decode(self.ssl_ca, validate=True).decode("ascii").strip() + "\n"
        except ValueError as error:
            raise InvalidDatabagError(f"{self.hostname} published an ssl_ca that is no base64: {error}") from error

    @staticmethod
    def encoded(ca: str) -> str:
        """Return an authority, PEM, as ``ssl_ca`` holds it."""
        return base64.b64encode(ca.encode()).decode()

    def commands_queue(self, key: str) -> str:
        """Return the queue that brings the commands with this routing key; empty while there is none."""
        return _listed(f"{self.commands_exchange}.{key}", self.commands_queues)

    def nodes_queue(self, key: str) -> str:
        """Return the queue that brings what nodes of this ``<site>.<gateway>`` publish; empty while there is none."""
        return _listed(f"{self.nodes_exchange}.{key}", self.nodes_queues)

    def serves_nodes(self, unit: str, nodes: str) -> bool:
        """Tell whether the broker knows the nodes of a unit; ``nodes`` is what its secret holds."""
        return f"{unit}:{nodes_digest(nodes)}" in self.nodes_served.split(",")


def _listed(queue: str, queues: str) -> str:
    return queue if queue in queues.split(",") else ""


def encode_nodes(password_hashes: Mapping[str, str]) -> str:
    """Return nodes and the hashes of their passwords as the secret holds them: a JSON object.

    A hash is RabbitMQ's ``rabbit_password_hashing_sha256``: base64 of 4 bytes of salt and SHA-256(salt + password).
    """
    return json.dumps(password_hashes, sort_keys=True, separators=(",", ":"))


def decode_nodes(nodes: str) -> dict[str, str]:
    """Return the nodes in a secret and the hashes of their passwords.

    Raises:
        InvalidDatabagError: it is not what :func:`encode_nodes` makes; the text holds no hash.
    """
    try:
        return _NODES.validate_json(nodes)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidDatabagError(f"{NODES} holds a bad value{where and f' for {where}'}: {first['msg']}") from error


def nodes_digest(nodes: str) -> str:
    """Return a short mark of what a secret holds."""
    return hashlib.sha256(nodes.encode()).hexdigest()[:16]
