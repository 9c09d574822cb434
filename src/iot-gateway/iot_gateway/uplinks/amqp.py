"""AMQP 0-9-1 uplink: batches to a RabbitMQ exchange, with publisher confirms.

One connection, a channel for each lane: an error closes a channel, and the other lane goes on. Messages are
``mandatory``, so one that no queue takes comes back instead of being dropped.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.spec import Basic
from pydantic import Field

from iot_gateway import interfaces
from iot_gateway.amqp_connection import PERSISTENT, AmqpConnection, AmqpConnectionOptions, ChannelUser
from iot_gateway.backoff import Backoff
from iot_gateway.interfaces import Done, Envelope, Outcome, TakeCommand
from iot_gateway.uplinks.amqp_commands import AmqpCommands

logger = logging.getLogger(__name__)


class AmqpOptions(AmqpConnectionOptions):
    """Settings of the uplink."""

    exchanges: dict[str, str] = Field(
        default_factory=lambda: {"telemetry": "iot.telemetry", "dead-letters": "iot.dead-letters"}
    )
    """The exchange of each lane."""
    commands_queue: str = Field(default="", max_length=255)
    """The queue that brings this gateway's commands; none if empty. It must be there: the relay declares nothing."""


class AmqpSender(interfaces.Sender):
    """One lane: a channel in confirm mode."""

    def __init__(self, lane: str, exchange: str):
        self.ready = False
        self.on_change = lambda: None
        self.error: str | None = None
        self._lane = lane
        self._exchange = exchange
        self._channel: Channel | None = None
        self._tag = 0
        self._unconfirmed: OrderedDict[int, tuple[str, Done]] = OrderedDict()
        self._returned: set[str] = set()
        self._backoff = Backoff()

    def publish(self, envelope: Envelope, done: Done) -> None:
        """Publish; the outcome comes with the broker's confirm."""
        if self._channel is None or not self.ready:
            asyncio.get_running_loop().call_soon(done, Outcome.LOST)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (envelope.message_id, done)
        properties = pika.BasicProperties(
            content_type=envelope.content_type,
            content_encoding=envelope.content_encoding,
            headers=envelope.headers,
            delivery_mode=PERSISTENT,
            message_id=envelope.message_id,
            timestamp=envelope.timestamp,
        )
        self._channel.basic_publish(self._exchange, envelope.key, envelope.body, properties, mandatory=True)

    def open(self, connection: AsyncioConnection) -> None:
        """Open the lane's channel on a connection that is open."""
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

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lose()
        connection = channel.connection
        if isinstance(connection, AsyncioConnection) and connection.is_open:
            self.error = str(reason)
            delay = self._backoff.next()
            logger.error("%s: the broker closed the channel, again in %.1f s: %s", self._lane, delay, reason)
            asyncio.get_running_loop().call_later(delay, self.open, connection)

    def lose(self) -> None:
        """The channel is gone: nothing that was not confirmed can be told from what was lost."""
        self._channel = None
        self.ready = False
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        self._returned.clear()
        for _, done in unconfirmed.values():
            done(Outcome.LOST)
        self.on_change()


class AmqpUplink(interfaces.Uplink):
    """The lanes, and the commands, on one connection."""

    Options = AmqpOptions

    def __init__(self, options: AmqpOptions, gateway: str, lanes: Sequence[str]):
        self._options = options
        self._lanes = {lane: AmqpSender(lane, options.exchanges[lane]) for lane in lanes}
        self.senders = dict(self._lanes)
        self._users: list[ChannelUser] = [*self._lanes.values()]
        self._commands: AmqpCommands | None = None
        self._connection = AmqpConnection(options, f"iot-gateway {gateway}", self._users)

    def on_command(self, take: TakeCommand) -> None:
        """Consume the queue of commands, if there is one."""
        if self._options.commands_queue:
            self._commands = AmqpCommands(self._options.commands_queue, take)
            self._users.append(self._commands)

    async def run(self) -> None:
        """Connect, serve, and connect again."""
        await self._connection.run()

    def status(self) -> dict[str, Any]:
        """Return ``connected``, ``error``, ``blocked``, ``connections`` (ever), and ``commands``: of their queue."""
        errors = [sender.error for sender in self._lanes.values() if sender.error]
        return {
            "connected": self._connection.connected,
            "blocked": self._connection.blocked,
            "connections": self._connection.connections,
            "error": self._connection.error or (errors[0] if errors else None),
            "commands": self._commands.status() if self._commands is not None else None,
        }
