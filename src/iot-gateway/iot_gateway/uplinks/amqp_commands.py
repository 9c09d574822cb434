"""Commands from RabbitMQ: the gateway's own queue, each message acknowledged once it is taken for good."""

from functools import partial
from typing import Any, Final

from pika.channel import Channel

from iot_gateway.amqp_consumer import AmqpConsumer
from iot_gateway.amqp_properties import ReceivedProperties
from iot_gateway.interfaces import CommandMessage, TakeCommand

PREFETCH: Final = 100
"""Messages that may be here and not taken for good."""


class AmqpCommands(AmqpConsumer):
    """A consumer on a channel of its own, so that its faults are not those of a lane."""

    def __init__(self, queue: str, take: TakeCommand):
        super().__init__(queue, "commands", PREFETCH)
        self._take = take

    def take(self, channel: Channel, method: Any, properties: ReceivedProperties, body: bytes) -> None:
        """Take a message; see :class:`AmqpConsumer`."""
        given = properties.timestamp
        message = CommandMessage(
            body,
            properties.message_id or "",
            float(given) if isinstance(given, int) else None,
            f"amqp:{self.queue}",
            properties.fault,
        )
        self._take(message, partial(self._acknowledge, channel, method.delivery_tag))

    def _acknowledge(self, channel: Channel, tag: int) -> None:
        # One that can't be acknowledged comes again, and is known by its identifier.
        if self.is_current(channel):
            channel.basic_ack(tag)

    def status(self) -> dict[str, Any]:
        """Return the queue, whether it is consumed, how many messages came, and what is wrong."""
        return {"queue": self.queue, "consuming": self.consuming, "received": self.received, "error": self.error}
