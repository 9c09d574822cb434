"""What nodes have published: the gateway's own queue at the broker.

A message is acknowledged once it is on the relay's disk. Until then it is the broker's, which gives it again when the
channel or the relay is gone; so at most ``prefetch`` messages come twice for each time that happens.
"""

import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from pika.channel import Channel

from iot_gateway.amqp_consumer import AmqpConsumer
from iot_gateway.amqp_properties import ReceivedProperties, text
from iot_gateway.desk import CommandError
from iot_gateway.desk.reports import Reports
from iot_gateway.interfaces import Core
from iot_gateway.listeners.amqp import bodies
from iot_gateway.listeners.amqp.options import AmqpListenerOptions
from iot_gateway.payloads import decoder
from iot_telemetry import MalformedPayloadError

logger = logging.getLogger(__name__)

PROTOCOL: Final = "amqp"
COMMAND_STATE: Final = "command-state"
"""The word behind a node's name that says: this is no telemetry, but what became of a command."""
_PLAIN_ENCODINGS: Final = ("", "identity", "utf-8")
"""Content encodings under which a body is the payload as it is; clients that send texts call them by their charset."""


class Token(NamedTuple):
    """Which message it is that is to be acknowledged."""

    channel: Channel
    tag: int


class PayloadQueue(AmqpConsumer):
    """Takes what nodes have published; the source of its payloads for the intake."""

    def __init__(self, options: AmqpListenerOptions, core: Core):
        super().__init__(options.queue, "payloads", options.prefetch)
        self.quiet = False
        """Nothing more is taken; what comes stays the broker's."""
        self.reports = Reports(core.desk)
        self._core = core
        self._begin = f"{options.key}."
        self._here: dict[Token, None] = {}
        """Messages that are not stored yet, in their order; of former channels as well."""
        self._paused = False
        self._unread: deque[tuple[Channel, Any, ReceivedProperties, bytes]] = deque()
        """Messages that came while the disk did not keep up: as readings they would take several times their memory."""

    @property
    def held(self) -> bool:
        """Whether what came over a former channel is still to be stored: all that comes now is that, once more."""
        return bool(self._here)

    def take(self, channel: Channel, method: Any, properties: ReceivedProperties, body: bytes) -> None:
        """Take a message of a node; see :class:`AmqpConsumer`."""
        if self._paused:
            self._unread.append((channel, method, properties, body))
        elif not self.quiet:
            self._read(channel, method, properties, body)

    def _read(self, channel: Channel, method: Any, properties: ReceivedProperties, body: bytes) -> None:
        token = Token(channel, method.delivery_tag)
        self._here[token] = None
        routing_key = text(method.routing_key)
        if not routing_key.startswith(self._begin):
            # A copy, by the header CC, which RabbitMQ lets anyone set, of what another gateway's node has published.
            reason = f"the routing key {routing_key} is of no node of this gateway"
            self._core.intake.bury(self, routing_key, body, reason, token)
            return
        name, *more = routing_key.removeprefix(self._begin).split(".")
        topic = "/".join((name, *more))
        try:
            node = self._node(name)
            payload = self._payload(properties, body)
            if more == [COMMAND_STATE]:
                self.reports.take(node, payload, partial(self.acknowledge, (token,)))
                return
        except (MalformedPayloadError, CommandError) as error:
            self._core.intake.bury(self, topic, body, str(error), token)
            return
        self._core.intake.offer(self, node, topic, payload, token, decoder(payload, text(properties.content_type)))

    def _node(self, name: str) -> str:
        # The broker has let it publish under this name; it may have been taken away since.
        node = self._core.nodes.lookup(name)
        if node is None:
            raise MalformedPayloadError(f"no node is called {name!r}")
        if reason := node.refusal(PROTOCOL):
            raise MalformedPayloadError(reason)
        self._core.nodes.presence.seen(name, PROTOCOL, "")
        return name

    @staticmethod
    def _payload(properties: ReceivedProperties, body: bytes) -> bytes:
        if properties.fault:
            raise MalformedPayloadError(properties.fault)
        encoding = text(properties.content_encoding)
        if encoding.lower() not in _PLAIN_ENCODINGS:
            raise MalformedPayloadError(f"content_encoding={encoding!r}: payloads must not be encoded")
        return bodies.payload(properties.type, body)

    def acknowledge(self, tokens: Sequence[Token]) -> None:
        """Tell the broker that messages are stored: at once where nothing before them is left to store."""
        for token in tokens:
            self._here.pop(token, None)
        first = next((token.tag for token in self._here), None)
        current = [token for token in tokens if self.is_current(token.channel)]
        before = [token for token in current if first is None or token.tag < first]
        if before:
            last = max(before, key=lambda token: token.tag)
            last.channel.basic_ack(last.tag, multiple=True)
        for token in current:
            if first is not None and token.tag > first:
                token.channel.basic_ack(token.tag)
        if not self._here:
            self.consume()

    def refused(self, token: Token, reason: str) -> Token:  # noqa: ARG002
        """Return the token: the broker can't tell the node, and the reason is in the dead letter."""
        return token

    def pause(self) -> None:
        """Leave what comes as it is: the broker gives no more than ``prefetch`` messages that are not acknowledged."""
        self._paused = True

    def resume(self) -> None:
        """Read what has come meanwhile, until there is too much of it again."""
        self._paused = False
        while self._unread and not self._paused:
            self.take(*self._unread.popleft())

    def lose(self) -> None:
        """The channel is gone; what was not read comes again."""
        super().lose()
        self._unread.clear()
