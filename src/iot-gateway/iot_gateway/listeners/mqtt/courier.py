"""Commands over MQTT: to a node by the site's broker, and what the node says of them.

A command is published on ``<commands_prefix>/<node>`` at QoS 1, through the broker, whose subscriptions and sessions
so hold for it; but only while the node is connected, so that the desk can still cancel what waits. What the node says
comes on ``<commands_prefix>/<node>/state`` and is taken by the listener itself (see docs/adr/0135).
"""

import time
from typing import Protocol

from iot_gateway.desk import Command, Courier, Desk, NotReachedError, State
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.hub import PROTOCOL


class SiteBroker(Protocol):
    """The relay's own connection to the broker."""

    connected: bool

    async def publish(self, topic: str, payload: bytes, seconds: float) -> int:
        """Publish at QoS 1; return the reason code of the acknowledgement.

        Raises:
            ConnectionError: the broker did not acknowledge it.
        """
        ...


class MqttCourier(Courier):
    """Carries commands to the nodes that take them."""

    protocol = PROTOCOL

    def __init__(self, desk: Desk, site: SiteBroker, prefix: str):
        self._desk = desk
        self._site = site
        self._prefix = prefix
        self._takers: dict[str, dict[object, float]] = {}
        """Of each node the connections that take commands, and since when."""

    def takes(self, node: str, connection: object) -> None:
        """A connection of a node has subscribed to its commands, or has a session that may have."""
        self._takers.setdefault(node, {})[connection] = time.monotonic()
        self._desk.arrived(node)

    def leaves(self, node: str, connection: object) -> None:
        """A connection takes no more commands."""
        takers = self._takers.get(node)
        if takers is not None and takers.pop(connection, None) is not None and not takers:
            del self._takers[node]

    def returned(self) -> None:
        """The broker can be reached again."""
        for node in list(self._takers):
            self._desk.arrived(node)

    def reaches(self, node: str) -> bool:
        """Tell whether the node is connected and takes commands, and the broker is there."""
        return node in self._takers and self._site.connected

    async def carry(self, command: Command) -> State:
        """Publish a command; the broker forgets it when it expires."""
        begin = time.monotonic()
        left = max(1.0, command.expires - time.time())
        try:
            reason = await self._site.publish(f"{self._prefix}/{command.node}", command.for_node(), left)
        except ConnectionError as error:
            raise NotReachedError(str(error)) from error
        if reason == Reason.NO_SUBSCRIBERS:
            # A session that did not subscribe after all; one that did so since is asked again.
            for connection, since in list(self._takers.get(command.node, {}).items()):
                if since <= begin:
                    self.leaves(command.node, connection)
            raise NotReachedError("it has not subscribed to its commands")
        if reason >= Reason.UNSPECIFIED:
            raise NotReachedError(f"the broker refuses it: code {reason:#x}")
        return State.SENT
