"""Consuming one RabbitMQ queue; each message is acknowledged by whoever takes it, once that is done for good."""

import logging
from abc import abstractmethod
from functools import partial
from typing import Any

from pika.channel import Channel

from iot_gateway.amqp_channel import AmqpChannel

logger = logging.getLogger(__name__)


class AmqpConsumer(AmqpChannel):
    """A consumer; the queue must be there: the relay declares nothing."""

    def __init__(self, queue: str, name: str, prefetch: int):
        """Make it.

        Args:
            queue: that is consumed.
            name: of what it holds.
            prefetch: messages that may be here and not acknowledged.
        """
        super().__init__(f"{name} from {queue}")
        self.queue = queue
        self.consuming = False
        self.received = 0
        self._prefetch = prefetch
        self._begun = False

    @abstractmethod
    def take(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        """Take a message; it comes again until it is acknowledged on its channel."""

    def begin(self, channel: Channel) -> None:
        """Begin to consume."""
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
        logger.info("%s are taken", self._name)
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

    def lose(self) -> None:
        """The channel is gone; what was not acknowledged comes again."""
        super().lose()
        self.consuming = self._begun = False
