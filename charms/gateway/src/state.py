"""What the charm knows, read once into frozen, validated values."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import ops

import mosquitto
from iot_charm.errors import InvalidDatabagError
from iot_charm.interfaces.databag import first_unit
from iot_charm.interfaces.mqtt import MqttNode
from iot_charm.interfaces.rabbitmq import PASSWORD, RabbitmqAnswer
from iot_charm.tls import Material, UnitCertificate
from iot_gateway import words
from iot_gateway.nodes import Node
from options import GatewayConfig, load
from registry import Registry

MQTT, AMQP, CERTIFICATES = "mqtt", "amqp", "certificates"
VHOST = "iot"


@dataclass(frozen=True)
class Broker:
    """RabbitMQ as the relation tells of it."""

    answer: RabbitmqAnswer
    password: str

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self | None:
        """Return the broker; None while it has not answered in full.

        Raises:
            InvalidDatabagError: it answered something that the interface does not allow.
        """
        answer = first_unit(charm, AMQP, RabbitmqAnswer)
        if answer is None:
            return None
        if not answer.password_secret:
            return cls(answer, answer.password) if answer.password else None
        try:
            content = charm.model.get_secret(id=answer.password_secret).get_content(refresh=True)
        except (ops.SecretNotFoundError, ops.ModelError):
            # It is granted before it is named, but not everywhere at the same moment: the next event brings it.
            return None
        return cls(answer, content[PASSWORD])


@dataclass(frozen=True)
class RelatedNode:
    """A remote unit that speaks for a node."""

    relation: ops.Relation
    unit: ops.Unit
    name: str


@dataclass(frozen=True)
class Nodes:
    """The units that want an identity."""

    wanted: tuple[RelatedNode, ...]
    problems: tuple[str, ...]
    """Requests that can't be met, in words for the operator."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase, taken: Collection[str], departing: ops.Unit | None = None) -> Self:
        """Read the requests of all units on all relations, but for one that is leaving.

        Args:
            charm: whose relations.
            taken: names that an operator gave away.
            departing: the unit that is leaving.
        """
        wanted: dict[str, RelatedNode] = {}
        problems: list[str] = []
        for relation in sorted(charm.model.relations[MQTT], key=lambda relation: relation.id):
            if not relation.active:
                continue
            for unit in sorted(relation.units, key=lambda unit: (unit.app.name, int(unit.name.rpartition("/")[2]))):
                if unit == departing:
                    continue
                try:
                    request = MqttNode.read(relation, unit)
                except InvalidDatabagError as error:
                    problems.append(str(error))
                    continue
                if request is None:
                    continue
                if request.node in mosquitto.RESERVED:
                    problems.append(f"{unit.name} can't be called {request.node}: the gateway uses that name")
                elif request.node in taken:
                    problems.append(
                        f"{unit.name} can't be called {request.node}: that node was added by an action; "
                        f"run remove-node name={request.node}, or let the unit have another name"
                    )
                elif request.node in wanted:
                    other = wanted[request.node].unit.name
                    problems.append(f"{unit.name} can't be called {request.node}: {other} is")
                else:
                    wanted[request.node] = RelatedNode(relation, unit, request.node)
        return cls(tuple(wanted.values()), tuple(problems))


@dataclass(frozen=True)
class State:
    """What the charm knows at one event."""

    config: GatewayConfig
    broker: Broker | None
    nodes: Nodes
    """The related ones."""
    added: tuple[Node, ...]
    """Those that an operator added."""
    suspended: frozenset[str]
    """The names of related nodes that are not let in."""
    certificate: Material | None
    """The gateway's own, once it was given."""

    @classmethod
    def from_charm(
        cls,
        charm: ops.CharmBase,
        registry: Registry,
        certificate: UnitCertificate,
        departing: ops.Unit | None = None,
    ) -> Self:
        """Read options and relations.

        Args:
            charm: whose.
            registry: of the nodes that an operator added.
            certificate: that the gateway asks for.
            departing: a remote unit that is leaving, and wants nothing any more.

        Raises:
            InvalidConfigError: an option has a value that it can't have.
            InvalidDatabagError: RabbitMQ answered something that the interface does not allow.
            RegistryError: the nodes that were added can't be read.
            CertificateRequestError: the gateway is given no certificate.
        """
        config = load(charm)
        broker = Broker.from_charm(charm)
        nodes = Nodes.from_charm(charm, registry.nodes, departing)
        return cls(config, broker, nodes, tuple(registry.nodes.values()), registry.suspended, certificate.find())

    @property
    def usable_broker(self) -> Broker | None:
        """The broker, unless TLS is required and it offers none: the relay then stays as it is."""
        return (
            None if self.broker and self.config.uplink_tls == "required" and not self.broker.answer.ca else self.broker
        )

    @property
    def known_nodes(self) -> int:
        """How many nodes there are."""
        return len(self.nodes.wanted) + len(self.added)


def describe_nodes(count: int, relay: Mapping[str, Any]) -> str:
    """Return the text of the active status, ``Ready (2 nodes, outbox empty, 1 dead letter)``."""
    parts = [_counted(count, "node"), words.behind(relay["outbox"]["telemetry"])]
    if waiting := relay["commands"]["open"]:
        parts.append(f"{_counted(waiting, 'command')} under way")
    if relay["dead_letters_total"]:
        parts.append(_counted(relay["dead_letters_total"], "dead letter"))
    dropped = sum(relay["outbox"]["telemetry"]["dropped_total"].values())
    if dropped:
        parts.append(f"{_counted(dropped, 'reading')} dropped")
    return f"Ready ({', '.join(parts)})"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
