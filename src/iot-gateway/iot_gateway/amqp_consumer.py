"""Consuming one RabbitMQ queue; each message is acknowledged by whoever takes it, once that is done for good."""

import asyncio
import logging
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from iot_gateway.backoff import Backoff

logger = logging.getLogger(__name__)


class AmqpConsumer(ABC):
    """A consumer on a channel of its own; the queue must be there: the relay declares nothing."""

    def __init__(self, queue: str, name: str, prefetch: int):
        """Make it.

        Args:
            queue: that is consumed.
            name: of what it holds, for the log.
            prefetch: messages that may be here and not acknowledged.
        """
        self.queue = queue
        self.consuming = False
        self.received = 0
        self.error: str | None = None
        self._name = name
        self._prefetch = prefetch
        self._channel: Channel | None = None
        self._begun = False
        self._backoff = Backoff()

    @abstractmethod
    def take(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """Take a message; it comes again until it is acknowledged on its channel."""

    def open(self, connection: AsyncioConnection) -> None:
        """Begin to consume on a connection that is open."""
        if connection.is_open:
            connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        channel.add_on_cancel_callback(self._on_cancel)  # pyright: ignore[reportUnknownMemberType]
        channel.basic_qos(prefetch_count=self._prefetch, callback=partial(self._on_bound, channel))

    def _on_bound(self, channel: Channel, _frame: Any) -> None:
        if channel is self._channel and not self.held:
            self.consume()

    @property
    def held(self) -> bool:
        """Whether a new channel is to wait until :meth:`consume` is called."""
        return False

    def consume(self) -> None:
        """Begin to consume, if there is a channel that does not yet."""
        if self._channel is not None and self._channel.is_open and not self._begun:
            self._begun = True
            self._channel.basic_consume(self.queue, self._on_message, callback=self._on_consuming)

    def _on_consuming(self, _frame: Any) -> None:
        logger.info("%s are taken from %s", self._name, self.queue)
        self.consuming, self.error = True, None
        self._backoff.reset()

    def _on_message(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        self.received += 1
        self.take(channel, method, properties, body)

    def is_current(self, channel: Channel) -> bool:
        """Tell whether a message of this channel can still be acknowledged.

        On another channel its tag means another message; this one comes again.
        """
        return channel is self._channel and channel.is_open

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
                logger.error("no %s are taken from %s: %s", self._name, self.queue, reason)
            self.error = str(reason)
            asyncio.get_running_loop().call_later(self._backoff.next(), self.open, connection)

    def lose(self) -> None:
        """The channel is gone; what was not acknowledged comes again."""
        self._channel = None
        self.consuming = self._begun = False
