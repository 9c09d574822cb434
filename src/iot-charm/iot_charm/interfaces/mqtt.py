"""``mqtt``: a gateway offers an MQTT listener, a node asks for an identity on it.

The provider is the gateway unit that runs the listener, the requirer a unit that speaks for one node. The gateway
makes an identity for every unit that publishes :class:`MqttNode` and grants that unit alone a secret with it.

The interface is open to other charms: databags, sequence, versions and a charm for either end are in
docs/reference/interface-mqtt.md. Fields are only ever added, each with a default that means what its absence did.
"""

from typing import Literal

from pydantic import Field

from iot_charm.interfaces.databag import Databag

USERNAME, PASSWORD = "username", "password"
"""The keys of the secret that holds a node's credentials."""
NODE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""A node's name is a level of a topic and a word of a routing key: neither ``/`` nor ``.`` is in it."""


class MqttNode(Databag):
    """Published by a requirer's unit: who wants to speak."""

    node: str = Field(pattern=f"^{NODE_NAME}$")
    """The node's name: its MQTT user name, the level under the topic prefix, and the base of its SenML names."""


class MqttGateway(Databag):
    """Published by a gateway's unit: where the listener is and how to speak to it."""

    host: str
    port: int = Field(ge=0, le=65535)
    """Of the listener without encryption; 0 where there is none."""
    tls_port: int = Field(default=0, ge=0, le=65535)
    """Of the listener with TLS; 0 where there is none."""
    ca: str = ""
    """The authority of the gateway's certificate, PEM, which is for ``host``; there whenever ``tls_port`` is."""
    client_certificates: Literal["off", "optional", "required"] = "off"
    """Whether a client's certificate is looked at over TLS: its common name is the node's name then."""
    site: str
    gateway: str
    topic_prefix: str = "telemetry"
    """A node publishes SenML packs on ``<topic_prefix>/<node>``."""
    commands_prefix: str = "commands"
    """A node is given commands on ``<commands_prefix>/<node>``, and answers on ``<commands_prefix>/<node>/state``."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """Name of a requirer's unit -> identifier of the secret with its credentials (USERNAME, PASSWORD)."""
