"""Publishing to one RabbitMQ exchange with confirms, so that it is known of each message what became of it."""

import asyncio
import logging
from collections import OrderedDict
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.spec import Basic

from iot_gateway.backoff import Backoff
from iot_gateway.interfaces import Done, Outcome

logger = logging.getLogger(__name__)


class AmqpPublisher:
    """A channel in confirm mode. Messages are ``mandatory``: one that no queue takes comes back."""

    def __init__(self, name: str, exchange: str):
        """Make it.

        Args:
            name: of what is published, for the log.
            exchange: where to.
        """
        self.ready = False
        self.error: str | None = None
        self._name = name
        self._exchange = exchange
        self._channel: Channel | None = None
        self._tag = 0
        self._unconfirmed: OrderedDict[int, tuple[str, Done]] = OrderedDict()
        self._returned: set[str] = set()
        self._backoff = Backoff()

    def changed(self) -> None:
        """Learn that ``ready`` has changed."""

    def send(self, key: str, body: bytes, properties: pika.BasicProperties, done: Done) -> None:
        """Publish a message that has a ``message_id``; the outcome comes with the broker's confirm."""
        if self._channel is None or not self.ready:
            asyncio.get_running_loop().call_soon(done, Outcome.LOST)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (str(properties.message_id), done)
        self._channel.basic_publish(self._exchange, key, body, properties, mandatory=True)

    def open(self, connection: AsyncioConnection) -> None:
        """Open the channel on a connection that is open."""
        if connection.is_open:
            connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        channel.add_on_return_callback(self._on_return)  # pyright: ignore[reportUnknownMemberType]
        channel.confirm_delivery(self._on_confirm, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        self.ready = True
        self.error = None
        self.changed()

    def _on_return(self, _channel: Channel, method: Any, properties: Any, _body: bytes) -> None:
        # The broker sends it back before it confirms it, on the same channel (RabbitMQ's confirms, "mandatory").
        self._returned.add(properties.message_id)
        self.error = f"{method.reply_text}: {self._exchange} {method.routing_key}"

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        acknowledged = isinstance(method, Basic.Ack)
        if method.multiple:
            while self._unconfirmed and next(iter(self._unconfirmed)) <= method.delivery_tag:
                self._settle(*self._unconfirmed.popitem(last=False)[1], acknowledged)
        elif method.delivery_tag in self._unconfirmed:
            self._settle(*self._unconfirmed.pop(method.delivery_tag), acknowledged)

    def _settle(self, message_id: str, done: Done, acknowledged: bool) -> None:
        if message_id in self._returned:
            self._returned.discard(message_id)
            done(Outcome.UNROUTABLE)
        elif acknowledged:
            self.error = None
            self._backoff.reset()
            done(Outcome.CONFIRMED)
        else:
            self.error = "refused by the broker"
            done(Outcome.REFUSED)

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lose()
        connection = channel.connection
        if isinstance(connection, AsyncioConnection) and connection.is_open:
            self.error = str(reason)
            delay = self._backoff.next()
            logger.error("%s: the broker closed the channel, again in %.1f s: %s", self._name, delay, reason)
            asyncio.get_running_loop().call_later(delay, self.open, connection)

    def lose(self) -> None:
        """The channel is gone: nothing that was not confirmed can be told from what was lost."""
        self._channel = None
        self.ready = False
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        self._returned.clear()
        for _, done in unconfirmed.values():
            done(Outcome.LOST)
        self.changed()
