"""Looking at queues at the broker: how many messages wait there, and whether anybody consumes.

By ``queue.declare``, passive, which makes nothing and which RabbitMQ lets any user do.
"""

import asyncio
from typing import Any, NamedTuple

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel


class QueueState(NamedTuple):
    """What the broker says of a queue."""

    messages: int
    """That wait: neither taken nor given to a consumer."""
    consumers: int


class QueueWatch:
    """Asks one question after the other; on a channel of its own, for the broker closes it where there is no queue."""

    def __init__(self):
        self._connection: AsyncioConnection | None = None
        self._channel: Channel | None = None
        self._asked: asyncio.Future[QueueState | None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a broker to ask."""
        return self._connection is not None and self._connection.is_open

    def open(self, connection: AsyncioConnection) -> None:
        """Use a connection that is open."""
        self._connection = connection

    def lose(self) -> None:
        """The connection is gone."""
        self._connection = None
        self._forget()

    def _forget(self) -> None:
        self._channel = None
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)

    async def look(self, queue: str) -> QueueState | None:
        """Return the state of a queue; None for one that is not there, and while the broker is out of reach."""
        if self._connection is None or not self._connection.is_open:
            return None
        self._asked = asked = asyncio.get_running_loop().create_future()
        if self._channel is None:
            self._connection.channel(on_open_callback=lambda channel: self._on_open(channel, queue))
        else:
            self._ask(self._channel, queue)
        return await asked

    def _on_open(self, channel: Channel, queue: str) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        self._ask(channel, queue)

    def _ask(self, channel: Channel, queue: str) -> None:
        channel.queue_declare(queue, passive=True, callback=self._on_answer)

    def _on_answer(self, frame: Any) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(QueueState(frame.method.message_count, frame.method.consumer_count))

    def _on_close(self, channel: Channel, _reason: Exception) -> None:
        if channel is self._channel:
            self._forget()
