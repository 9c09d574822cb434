"""A channel of one's own on a connection to RabbitMQ, opened again whenever the broker closes it."""

import asyncio
import logging
from abc import ABC, abstractmethod

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from iot_gateway.backoff import Backoff

logger = logging.getLogger(__name__)


class AmqpChannel(ABC):
    """A user of a connection, as far as its channel comes and goes."""

    def __init__(self, name: str):
        """Make it; nothing is opened yet.

        Args:
            name: of what goes over it, for the log.
        """
        self.error: str | None = None
        """What the broker has said against it last; None while all is well."""
        self._name = name
        self._channel: Channel | None = None
        self._backoff = Backoff()

    @abstractmethod
    def begin(self, channel: Channel) -> None:
        """Put a channel that is open to use; once it works, ``error`` and the back-off are to be reset."""

    def open(self, connection: AsyncioConnection) -> None:
        """Open the channel on a connection that is open."""
        if connection.is_open:
            connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        self.begin(channel)

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lose()
        connection = channel.connection
        if isinstance(connection, AsyncioConnection) and connection.is_open:
            delay = self._backoff.next()
            if str(reason) != self.error:
                logger.error("%s: the channel was closed, again in %.1f s: %s", self._name, delay, reason)
            self.error = str(reason)
            asyncio.get_running_loop().call_later(delay, self.open, connection)

    def lose(self) -> None:
        """The channel is gone."""
        self._channel = None
