"""Commands from RabbitMQ: the gateway's own queue, each message acknowledged once it is taken for good."""

import asyncio
import logging
from functools import partial
from typing import Any, Final

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from iot_gateway.backoff import Backoff
from iot_gateway.interfaces import CommandMessage, TakeCommand

logger = logging.getLogger(__name__)

PREFETCH: Final = 100
"""Messages that may be here and not taken for good."""


class AmqpCommands:
    """A consumer on a channel of its own, so that its faults are not those of a lane."""

    def __init__(self, queue: str, take: TakeCommand):
        self.queue = queue
        self.consuming = False
        self.received = 0
        self.error: str | None = None
        self._take = take
        self._channel: Channel | None = None
        self._backoff = Backoff()

    def open(self, connection: AsyncioConnection) -> None:
        """Begin to consume on a connection that is open."""
        if connection.is_open:
            connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        channel.add_on_cancel_callback(self._on_cancel)  # pyright: ignore[reportUnknownMemberType]
        channel.basic_qos(prefetch_count=PREFETCH, callback=partial(self._on_bound, channel))

    def _on_bound(self, channel: Channel, _frame: Any) -> None:
        channel.basic_consume(self.queue, self._on_message, callback=self._on_consuming)

    def _on_consuming(self, _frame: Any) -> None:
        logger.info("commands are taken from %s", self.queue)
        self.consuming, self.error = True, None
        self._backoff.reset()

    def _on_message(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self.received += 1
        given = properties.timestamp
        message = CommandMessage(
            body,
            properties.message_id or "",
            float(given) if isinstance(given, int) else None,
            f"amqp:{self.queue}",
        )
        self._take(message, partial(self._acknowledge, channel, method.delivery_tag))

    def _acknowledge(self, channel: Channel, tag: int) -> None:
        # On another channel the tag means another message; this one comes again, and is known by its identifier.
        if channel is self._channel and channel.is_open:
            channel.basic_ack(tag)

    def _on_cancel(self, _frame: Any) -> None:
        # The queue was removed, or has another leader; a closed channel is opened again.
        if self._channel is not None and self._channel.is_open:
            self._channel.close(320, "the broker cancelled the consumer")

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lose()
        connection = channel.connection
        if isinstance(connection, AsyncioConnection) and connection.is_open:
            if str(reason) != self.error:
                logger.error("no commands are taken from %s: %s", self.queue, reason)
            self.error = str(reason)
            asyncio.get_running_loop().call_later(self._backoff.next(), self.open, connection)

    def lose(self) -> None:
        """The channel is gone; what was not acknowledged comes again."""
        self._channel = None
        self.consuming = False

    def status(self) -> dict[str, Any]:
        """Return the queue, whether it is consumed, how many messages came, and what is wrong."""
        return {"queue": self.queue, "consuming": self.consuming, "received": self.received, "error": self.error}
