"""A node as the gateway knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from iot_telemetry.names import NODE_NAME

NAME = rf"^{NODE_NAME}\Z"
"""A node's name."""

CERTIFICATE_NAME = "certificate-name"
"""Among a node's keys: the common name of its certificates, where that is not the node's name."""

AMQP_PASSWORD_HASH = "amqp-password-hash"
"""Among a node's keys: what RabbitMQ keeps of its password (:mod:`iot_gateway.nodes.rabbitmq_password`)."""

NO_KEYS: Mapping[str, str] = MappingProxyType({})
"""One for all nodes that have none: there may be thousands."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who a node is, and what it may use."""

    name: str
    credential: str = ""
    """The hash of its secret (:mod:`iot_gateway.nodes.credentials`); empty where it has none, so that only a
    certificate or a key can prove who it is."""
    enabled: bool = True
    protocols: frozenset[str] | None = None
    """The protocols that it may use, by the listeners' names (``mqtt``, ``coap``, ...); None for all."""
    keys: Mapping[str, str] = field(default_factory=lambda: NO_KEYS)
    """What a protocol needs beside, or in place of, a hashed secret, under a name that the protocol's listener
    defines:

    - ``zeromq-public-key``: the node's CURVE key, in Z85;
    - ``amqp-password-hash``: of the password that it gives to RabbitMQ, as RabbitMQ keeps it;
    - ``oscore-id``, ``oscore-secret``, ``oscore-salt``: for CoAP and LwM2M, in hexadecimal, the node's sender ID (at
      most 7 bytes, no other node's and not the gateway's own), the master secret (at least 16 bytes) and the master
      salt (may be left out); :func:`iot_gateway.listeners.coap.security.make_keys` makes them. OSCORE needs the secret
      itself, so it can't be hashed. Keys that were used on another machine, or before its state was lost, may not be
      used again.
    """

    def may_use(self, protocol: str) -> bool:
        """Tell whether the node is let in by this protocol at all."""
        return self.refusal(protocol) is None

    def refusal(self, protocol: str) -> str | None:
        """Return why the node is not let in by this protocol; None if it is."""
        if not self.enabled:
            return f"node {self.name} is disabled"
        if self.protocols is not None and protocol not in self.protocols:
            return f"node {self.name} may not use {protocol}"
        return None
