"""Nodes that speak AMQP: what RabbitMQ is told of them, how they get there, and what became of it.

RabbitMQ lets them in itself. It learns of them from a secret of this unit, which holds hashes of passwords and nothing
that opens a door; it answers with a mark of what it has taken from there.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import ops

import amqp_route
from iot_charm.errors import IotCharmError
from iot_charm.interfaces.rabbitmq import NODES, encode_nodes
from iot_gateway.nodes.node import AMQP_PASSWORD_HASH
from options import GatewayConfig
from registry import Registry
from relay_settings import Amqp
from state import VHOST, State

logger = logging.getLogger(__name__)

SECRET = "amqp-nodes"
"""The label of the secret."""
PROTOCOL = "amqp"

Written = TypeVar("Written")


class AmqpNodesError(IotCharmError):
    """RabbitMQ can't be told of the nodes; the text says what to do."""


class AmqpNodes:
    """Those of one unit of the gateway."""

    def __init__(self, charm: ops.CharmBase, registry: Registry):
        """Make it.

        Args:
            charm: whose unit.
            registry: of all nodes, of which some may use AMQP.
        """
        self._charm = charm
        self._registry = registry

    # What RabbitMQ is told

    def ensure_secret(self, relation: ops.Relation) -> str:
        """Have RabbitMQ find the nodes that may use AMQP, and no others.

        Returns:
            The identifier of the secret.

        Raises:
            RegistryError: the nodes can't be read.
            AmqpNodesError: there are more than a secret can hold.
        """
        secret = self.update()
        if secret is None:
            secret = self._written(lambda content: self._charm.unit.add_secret(content, label=SECRET))
        secret.grant(relation)
        # Not `secret.id`: a secret that was just added knows itself in another notation than one found again.
        return secret.get_info().id

    def update(self) -> ops.Secret | None:
        """Have the secret, if there is one, hold what is in the registry now; return it.

        Raises:
            RegistryError: the nodes can't be read.
            AmqpNodesError: there are more than a secret can hold.
        """
        secret = self._secret()
        if secret is not None and secret.peek_content() != {NODES: self._encoded()}:
            self._written(secret.set_content)
        return secret

    def _written(self, write: Callable[[dict[str, str]], Written]) -> Written:
        try:
            return write({NODES: self._encoded()})
        except ops.ModelError as error:
            raise AmqpNodesError(
                f"RabbitMQ can't be told of {len(self._hashes()):,} nodes that may use AMQP: {error}. "
                "Juju before 3.6.9 takes some 90 in a secret; remove-node, or a newer Juju, helps"
            ) from error

    def withdraw(self) -> None:
        """Have no secret; RabbitMQ, which must not be asked by it any more, then knows no node."""
        if (secret := self._secret()) is not None:
            secret.remove_all_revisions()
            logger.info("no node is let in by AMQP any more")

    def _secret(self) -> ops.Secret | None:
        try:
            return self._charm.model.get_secret(label=SECRET)
        except ops.SecretNotFoundError:
            return None

    def _hashes(self) -> dict[str, str]:
        return {
            name: node.keys[AMQP_PASSWORD_HASH]
            for name, node in self._registry.nodes.items()
            if node.may_use(PROTOCOL) and AMQP_PASSWORD_HASH in node.keys
        }

    def _encoded(self) -> str:
        return encode_nodes(self._hashes())

    # What comes of it

    def listener(self, state: State) -> Amqp | None:
        """Return the settings of the relay's listener; None while RabbitMQ has no queue for it."""
        broker = state.usable_broker
        queue = broker.answer.nodes_queue(self._key(state)) if broker and state.config.amqp else ""
        return Amqp(queue, broker.answer.node_commands_exchange) if broker and queue else None

    @staticmethod
    def routes(state: State, addresses: Collection[str]) -> list[amqp_route.Route]:
        """Return the ways on which nodes are led to RabbitMQ; none without it.

        Args:
            state: what the charm knows.
            addresses: of this machine, on which their ports are.
        """
        config, broker = state.config, state.usable_broker
        if not config.amqp or broker is None:
            return []
        answer, where = broker.answer, tuple(addresses)
        found: list[amqp_route.Route] = []
        if _plain_port(config):
            found.append(amqp_route.Route(amqp_route.PLAIN, where, config.amqp_port, answer.hostname, answer.port))
        if answer.ca:
            found.append(
                amqp_route.Route(amqp_route.TLS, where, config.amqp_tls_port, answer.hostname, answer.ssl_port)
            )
        return found

    def shown(self, state: State) -> Mapping[str, str]:
        """Return what a node called ``<node>`` needs besides its password, in the words of an action's results."""
        user, broker = f"{self._charm.app.name}.<node>", state.usable_broker
        results = {
            "amqp-username": user,
            "amqp-vhost": VHOST,
            "amqp-routing-key": f"{self._key(state)}.<node>",
        }
        if broker and broker.answer.nodes_exchange:
            results["amqp-exchange"] = broker.answer.nodes_exchange
            results["amqp-commands-queue"] = f"{broker.answer.node_commands_exchange}.{user}"
        names = {amqp_route.PLAIN: "amqp-port", amqp_route.TLS: "amqp-tls-port"}
        results |= {names[route.name]: str(route.port) for route in self.routes(state, ())}
        if broker and "amqp-tls-port" in results:
            results["amqp-ca"] = broker.answer.ca
        return results

    def statuses(self, state: State, listener: Mapping[str, Any]) -> Iterator[ops.StatusBase]:
        """Say what is missing before nodes can come by AMQP.

        Args:
            state: what the charm knows.
            listener: the status of the relay's listener; empty where it has none.
        """
        config, broker = state.config, state.usable_broker
        if not config.amqp or broker is None:
            return
        answer = broker.answer
        if not _plain_port(config) and not answer.ca:
            yield ops.BlockedStatus("amqp_port=0: nodes need TLS then, but RabbitMQ (amqp) has no certificate")
        for route in self.routes(state, ()):
            if not amqp_route.is_open(route.name):
                option = "amqp_port" if route.name == amqp_route.PLAIN else "amqp_tls_port"
                yield ops.BlockedStatus(
                    f"{option}={route.port} can't be listened on: another has it, "
                    f"or see journalctl -u {route.name}.socket"
                )
        if not answer.nodes_exchange:
            yield ops.WaitingStatus(
                "Waiting for RabbitMQ (amqp) to take nodes: the bundle's own charm, refreshed, does; or set amqp=false"
            )
        elif not answer.nodes_queue(self._key(state)):
            yield ops.WaitingStatus("Waiting for RabbitMQ (amqp) to make the queue for nodes")
        elif not answer.serves_nodes(self._charm.unit.name, self._encoded()):
            count = len(self._hashes())
            nodes = f"{count:,} node{'' if count == 1 else 's'}"
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to learn who may use AMQP ({nodes})")
        elif listener.get("error"):
            yield ops.WaitingStatus(f"Waiting for RabbitMQ (amqp) to hand over what nodes publish: {listener['error']}")

    def _key(self, state: State) -> str:
        return state.config.key(self._charm.unit)


def _plain_port(config: GatewayConfig) -> int:
    """Return the port without encryption; 0 for none."""
    # What comes by it goes on to RabbitMQ as it came.
    return 0 if config.uplink_tls == "required" else config.amqp_port
