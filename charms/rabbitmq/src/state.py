"""What the charm knows, read once into frozen, validated values."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import ops
from pydantic import ByteSize, Field

from iot_charm.config import CharmConfig, load_config
from iot_charm.errors import InvalidDatabagError
from iot_charm.interfaces.rabbitmq import BatchEncoding, RabbitmqRequest
from management import Queue
from topology import Access, Limits

AMQP, CERTIFICATES = "amqp", "certificates"

_MIB, _TIB = 2**20, 2**40
Watermark = Annotated[ByteSize, Field(ge=128 * _MIB, le=_TIB)]
FreeLimit = Annotated[ByteSize, Field(ge=10_000_000, le=_TIB)]
StreamBytes = Annotated[ByteSize, Field(ge=10_000_000, le=10 * _TIB)]


class RabbitmqConfig(CharmConfig):
    """The charm's options."""

    batch_encoding: BatchEncoding
    stream_max_bytes: StreamBytes
    stream_max_age: str = Field(pattern=r"^[1-9][0-9]{0,4}[YMDhms]$")
    delivery_limit: int = Field(ge=1, le=1_000_000)
    memory_watermark: Watermark
    disk_free_limit: FreeLimit

    @property
    def limits(self) -> Limits:
        """The limits of the queues."""
        return Limits(self.delivery_limit, int(self.stream_max_bytes), self.stream_max_age)


@dataclass(frozen=True)
class QueueFilter:
    """The parameters of the action ``check-queues``."""

    vhost: str = ""
    queue: str = ""

    def matches(self, queue: Queue) -> bool:
        """Tell whether a queue is asked for."""
        return self.vhost in ("", queue.vhost) and self.queue in queue.name


@dataclass(frozen=True)
class User:
    """A user that related applications ask for."""

    name: str
    access: Mapping[str, frozenset[Access]]
    """Virtual host -> the kinds of access asked for there."""
    commands: Mapping[str, frozenset[str]]
    """Virtual host -> ``<site>.<gateway>`` of the gateways whose commands it takes there."""
    relations: tuple[int, ...]
    """Identifiers of the relations that ask for it; applications that ask for the same name share the user."""


@dataclass(frozen=True)
class Clients:
    """What all related applications ask for."""

    users: tuple[User, ...]
    problems: tuple[str, ...]
    """Requests that can't be met, in words for the operator."""

    @property
    def vhosts(self) -> tuple[str, ...]:
        """The virtual hosts in use."""
        return tuple(sorted({vhost for user in self.users for vhost in user.access}))

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the requests of all units on all relations; one that is being broken asks for nothing any more."""
        access: dict[str, dict[str, set[Access]]] = defaultdict(lambda: defaultdict(set))
        commands: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        owners: dict[tuple[str, str], str] = {}
        relations: dict[str, set[int]] = defaultdict(set)
        problems: list[str] = []
        for relation in charm.model.relations[AMQP]:
            if not relation.active:
                continue
            requests: list[RabbitmqRequest] = []
            for unit in sorted(relation.units, key=lambda unit: unit.name):
                try:
                    request = RabbitmqRequest.read(relation, unit)
                except InvalidDatabagError as error:
                    problems.append(str(error))
                    continue
                if request is None:
                    continue
                requests.append(request)
                owner = owners.setdefault((request.vhost, request.commands), unit.name)
                if request.commands and owner != unit.name:
                    problems.append(f"{unit.name} can't take the commands of {request.commands}: {owner} does")
                elif request.commands:
                    commands[request.username][request.vhost].add(request.commands)
            names = sorted({request.username for request in requests})
            if len(names) > 1:
                problems.append(f"{relation.app.name} asks for several users on one relation: {', '.join(names)}")
                continue
            for request in requests:
                access[request.username][request.vhost].add(request.access)
                relations[request.username].add(relation.id)
        users = tuple(
            User(
                name,
                {vhost: frozenset(kinds) for vhost, kinds in sorted(vhosts.items())},
                {vhost: frozenset(keys) for vhost, keys in sorted(commands[name].items())},
                tuple(sorted(relations[name])),
            )
            for name, vhosts in sorted(access.items())
        )
        return cls(users, tuple(problems))


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
