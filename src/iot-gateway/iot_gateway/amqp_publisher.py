"""Publishing to one RabbitMQ exchange with confirms, so that it is known of each message what became of it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pika
from pika.channel import Channel
from pika.spec import Basic

from iot_gateway.amqp_channel import AmqpChannel
from iot_gateway.interfaces import Done, Outcome


class AmqpPublisher(AmqpChannel):
    """A channel in confirm mode. Messages are ``mandatory``: one that no queue takes comes back."""

    def __init__(self, name: str, exchange: str):
        """Make it.

        Args:
            name: of what is published, for the log.
            exchange: where to.
        """
        super().__init__(name)
        self.ready = False
        self.on_change: Callable[[], None] = lambda: None
        """Called when ``ready`` changes."""
        self._exchange = exchange
        self._tag = 0
        self._unconfirmed: OrderedDict[int, tuple[str, Done]] = OrderedDict()
        self._returned: set[str] = set()

    def send(self, key: str, body: bytes, properties: pika.BasicProperties, done: Done) -> None:
        """Publish a message that has a ``message_id``; the outcome comes with the broker's confirm."""
        if self._channel is None or not self.ready:
            asyncio.get_running_loop().call_soon(done, Outcome.LOST)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (str(properties.message_id), done)
        self._channel.basic_publish(self._exchange, key, body, properties, mandatory=True)

    def begin(self, channel: Channel) -> None:
        """Have the broker confirm what is published."""
        self._tag = 0
        channel.add_on_return_callback(self._on_return)  # pyright: ignore[reportUnknownMemberType]
        channel.confirm_delivery(self._on_confirm, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        self.ready = True
        self.error = None
        self.on_change()

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

    def lose(self) -> None:
        """The channel is gone: nothing that was not confirmed can be told from what was lost."""
        super().lose()
        self.ready = False
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        self._returned.clear()
        for _, done in unconfirmed.values():
            done(Outcome.LOST)
        self.on_change()
