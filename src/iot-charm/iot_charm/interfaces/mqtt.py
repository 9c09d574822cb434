"""``mqtt``: a gateway offers an MQTT listener, a node asks for an identity on it.

The provider is the gateway unit that runs the listener, the requirer a unit that speaks for one node. The gateway
makes an identity for every unit that publishes :class:`MqttNode` and grants that unit alone a secret with it.
"""

from pydantic import Field

from iot_charm.interfaces.databag import Databag

USERNAME, PASSWORD = "username", "password"
"""The keys of the secret that holds a node's credentials."""


class MqttNode(Databag):
    """Published by a requirer's unit: who wants to speak."""

    node: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """The node's name: its MQTT user name, the level under the topic prefix, and the base of its SenML names."""


class MqttGateway(Databag):
    """Published by a gateway's unit: where the listener is and how to speak to it."""

    host: str
    port: int = Field(ge=1, le=65535)
    site: str
    gateway: str
    topic_prefix: str = "telemetry"
    """A node publishes SenML packs on ``<topic_prefix>/<node>``."""
    commands_prefix: str = "commands"
    """A node is given commands on ``<commands_prefix>/<node>``, and answers on ``<commands_prefix>/<node>/state``."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """Name of a requirer's unit -> identifier of the secret with its credentials (USERNAME, PASSWORD)."""
