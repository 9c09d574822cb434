"""AMQP 0-9-1 uplink: batches to a RabbitMQ exchange, with publisher confirms.

One connection, a channel for each lane: an error closes a channel, and the other lane goes on.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import pika
from msgspec import Meta, field

from iot_gateway import interfaces
from iot_gateway.amqp_connection import PERSISTENT, AmqpConnection, AmqpConnectionOptions, ChannelUser
from iot_gateway.amqp_publisher import AmqpPublisher
from iot_gateway.interfaces import Done, Envelope, TakeCommand
from iot_gateway.uplinks.amqp_commands import AmqpCommands


class AmqpOptions(AmqpConnectionOptions, frozen=True, kw_only=True):
    """Settings of the uplink."""

    exchanges: dict[str, str] = field(
        default_factory=lambda: {"telemetry": "iot.telemetry", "dead-letters": "iot.dead-letters"}
    )
    """The exchange of each lane."""
    commands_queue: Annotated[str, Meta(max_length=255)] = ""
    """The queue that brings this gateway's commands; none if empty. It must be there: the relay declares nothing."""


class AmqpSender(AmqpPublisher, interfaces.Sender):
    """One lane: a channel in confirm mode."""

    def publish(self, envelope: Envelope, done: Done) -> None:
        """Publish; the outcome comes with the broker's confirm."""
        properties = pika.BasicProperties(
            content_type=envelope.content_type,
            content_encoding=envelope.content_encoding,
            headers=envelope.headers,
            delivery_mode=PERSISTENT,
            message_id=envelope.message_id,
            timestamp=envelope.timestamp,
        )
        self.send(envelope.key, envelope.body, properties, done)


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
