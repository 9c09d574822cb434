"""What the charm knows, read once into frozen, validated values."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import ops
from pydantic import ByteSize, Field

from iot_charm.config import CharmConfig, load_config
from iot_charm.errors import InvalidDatabagError
from iot_charm.interfaces.rabbitmq import (
    NODES,
    BatchEncoding,
    RabbitmqAnswer,
    RabbitmqRequest,
    decode_nodes,
    nodes_digest,
)
from management import Queue
from node_users import GatewayNodes
from topology import NODE_COMMANDS_EXCHANGE, Access, Limits

AMQP, CERTIFICATES = "amqp", "certificates"
_USER_SECRET = "user-"

_MIB, _TIB = 2**20, 2**40
Watermark = Annotated[ByteSize, Field(ge=128 * _MIB, le=_TIB)]
FreeLimit = Annotated[ByteSize, Field(ge=10_000_000, le=_TIB)]
StreamBytes = Annotated[ByteSize, Field(ge=10_000_000, le=10 * _TIB)]
NodesBytes = Annotated[ByteSize, Field(ge=1_000_000, le=10 * _TIB)]


class RabbitmqConfig(CharmConfig):
    """The charm's options."""

    batch_encoding: BatchEncoding
    stream_max_bytes: StreamBytes
    stream_max_age: str = Field(pattern=r"^[1-9][0-9]{0,4}[YMDhms]$")
    nodes_max_bytes: NodesBytes
    delivery_limit: int = Field(ge=1, le=1_000_000)
    memory_watermark: Watermark
    disk_free_limit: FreeLimit

    @property
    def limits(self) -> Limits:
        """The limits of the queues."""
        return Limits(self.delivery_limit, int(self.stream_max_bytes), self.stream_max_age, int(self.nodes_max_bytes))


@dataclass(frozen=True)
class QueueFilter:
    """The parameters of the action ``check-queues``."""

    vhost: str = ""
    queue: str = ""

    def matches(self, queue: Queue) -> bool:
        """Tell whether a queue is asked for."""
        is_meant = self.queue in queue.name if self.queue else not is_of_a_node(queue)
        return is_meant and self.vhost in ("", queue.vhost)


def is_of_a_node(queue: Queue) -> bool:
    """Tell whether a queue is one of thousands: of commands to a single node, which reads it while it is connected."""
    return queue.name.startswith(f"{NODE_COMMANDS_EXCHANGE}.")


@dataclass(frozen=True)
class Asked:
    """What a unit asks for."""

    relation: ops.Relation
    unit: ops.Unit
    request: RabbitmqRequest


@dataclass(frozen=True)
class Requests:
    """The requests of all units on all relations."""

    met: tuple[Asked, ...]
    """Those that can be met."""
    problems: tuple[str, ...]
    """In words for the operator why others can't."""
    kept: frozenset[str]
    """The names of users that were given to those others, who lose nothing by a mistake."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read them; a relation that is being broken asks for nothing any more."""
        met: list[Asked] = []
        problems: list[str] = []
        kept: set[str] = set()
        for relation in charm.model.relations[AMQP]:
            if not relation.active:
                continue
            of_relation: list[Asked] = []
            refused: list[str] = []
            for unit in sorted(relation.units, key=lambda unit: unit.name):
                try:
                    request = RabbitmqRequest.read(relation, unit)
                except InvalidDatabagError as error:
                    refused.append(str(error))
                    continue
                if request is not None:
                    of_relation.append(Asked(relation, unit, request))
            names = sorted({asked.request.username for asked in of_relation})
            if len(names) > 1:
                refused.append(f"{relation.app.name} asks for several users on one relation: {', '.join(names)}")
            else:
                met += of_relation
            problems += refused
            if refused and (name := _given_user(charm, relation)):
                kept.add(name)
        return cls(tuple(met), tuple(problems), frozenset(kept))


def user_secret(name: str) -> str:
    """Return the label of the secret with a user's password."""
    return f"{_USER_SECRET}{name}"


def _given_user(charm: ops.CharmBase, relation: ops.Relation) -> str:
    """Return the name of the user that this unit has told a relation of; empty without one."""
    answer = RabbitmqAnswer.read(relation, charm.unit)
    if answer is None:
        return ""
    try:
        label = charm.model.get_secret(id=answer.password_secret).get_info().label
    except ops.ModelError:
        # What was told stays when the user goes with its secret.
        return ""
    return (label or "").removeprefix(_USER_SECRET)


@dataclass(frozen=True)
class NodesRequest:
    """What a unit asks for its nodes."""

    relation: int
    """Identifier of the relation."""
    nodes: GatewayNodes
    served: str
    """What ``nodes-served`` says of the unit, once its nodes have their users; empty for nothing."""

    @classmethod
    def read(cls, charm: ops.CharmBase, asked: Asked) -> Self:
        """Read the unit's secret, as it is now.

        Raises:
            InvalidDatabagError: it can't be read, or holds what can't be.
        """
        try:
            nodes = charm.model.get_secret(id=asked.request.nodes_secret).get_content(refresh=True)[NODES]
        except (ops.ModelError, KeyError) as error:
            raise InvalidDatabagError(f"{asked.unit.name}'s secret of nodes can't be read: {error}") from error
        try:
            hashes = decode_nodes(nodes)
        except InvalidDatabagError as error:
            raise InvalidDatabagError(f"{asked.unit.name}'s secret of nodes: {error}") from error
        served = f"{asked.unit.name}:{nodes_digest(nodes)}"
        return cls._of(asked, hashes, served, is_new=served != _served(charm, asked))

    @classmethod
    def unread(cls, charm: ops.CharmBase, asked: Asked) -> Self:
        """Stand in for what can't be read: all stays as it was served before."""
        return cls._of(asked, None, _served(charm, asked), is_new=False)

    @classmethod
    def _of(cls, asked: Asked, hashes: Mapping[str, str] | None, served: str, *, is_new: bool) -> Self:
        request = asked.request
        nodes = GatewayNodes(request.username, request.vhost, request.commands, hashes, is_new)
        return cls(asked.relation.id, nodes, served)


def _served(charm: ops.CharmBase, asked: Asked) -> str:
    """Return what this unit has told of a unit's nodes."""
    answer = RabbitmqAnswer.read(asked.relation, charm.unit)
    told = answer.nodes_served.split(",") if answer else []
    return next((each for each in told if each.rpartition(":")[0] == asked.unit.name), "")


@dataclass(frozen=True)
class User:
    """A user that related applications ask for."""

    name: str
    access: Mapping[str, frozenset[Access]]
    """Virtual host -> the kinds of access asked for there."""
    commands: Mapping[str, frozenset[str]]
    """Virtual host -> ``<site>.<gateway>`` of the gateways whose commands it takes there."""
    nodes: Mapping[str, frozenset[str]]
    """Virtual host -> those of them that let nodes in by AMQP."""
    relations: tuple[int, ...]
    """Identifiers of the relations that ask for it; applications that ask for the same name share the user."""


@dataclass(frozen=True)
class Clients:
    """What all related applications ask for."""

    users: tuple[User, ...]
    nodes: tuple[NodesRequest, ...]
    problems: tuple[str, ...]
    """Requests that can't be met, in words for the operator."""
    kept: frozenset[str]
    """The names of users of which not all that is asked for could be read: nothing is taken from them."""

    @property
    def vhosts(self) -> tuple[str, ...]:
        """The virtual hosts in use."""
        return tuple(sorted({vhost for user in self.users for vhost in user.access}))

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read what all units on all relations ask for."""
        requests = Requests.from_charm(charm)
        problems = [*requests.problems]
        access: dict[str, dict[str, set[Access]]] = defaultdict(lambda: defaultdict(set))
        commands: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        keys_of_nodes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        owners: dict[tuple[str, str], str] = {}
        relations: dict[str, set[int]] = defaultdict(set)
        nodes: list[NodesRequest] = []
        for each in requests.met:
            request, unit = each.request, each.unit.name
            access[request.username][request.vhost].add(request.access)
            relations[request.username].add(each.relation.id)
            if request.nodes_secret and not request.commands:
                problems.append(f"{unit} names nodes, but not its site and gateway (commands)")
            if not request.commands:
                continue
            owner = owners.setdefault((request.vhost, request.commands), unit)
            if owner != unit:
                problems.append(f"{unit} can't take the commands of {request.commands}: {owner} does")
                continue
            commands[request.username][request.vhost].add(request.commands)
            if request.nodes_secret:
                keys_of_nodes[request.username][request.vhost].add(request.commands)
                try:
                    nodes.append(NodesRequest.read(charm, each))
                except InvalidDatabagError as error:
                    problems.append(str(error))
                    nodes.append(NodesRequest.unread(charm, each))
        users = tuple(
            User(
                name,
                {vhost: frozenset(kinds) for vhost, kinds in sorted(vhosts.items())},
                {vhost: frozenset(keys) for vhost, keys in sorted(commands[name].items())},
                {vhost: frozenset(keys) for vhost, keys in sorted(keys_of_nodes[name].items())},
                tuple(sorted(relations[name])),
            )
            for name, vhosts in sorted(access.items())
        )
        return cls(users, tuple(nodes), tuple(problems), requests.kept)


@dataclass(frozen=True)
class State:
    """What the charm knows at one event."""

    config: RabbitmqConfig
    clients: Clients

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read options and requests.

        Raises:
            InvalidConfigError: an option has a value that it can't have.
        """
        return cls(load_config(charm, RabbitmqConfig), Clients.from_charm(charm))
