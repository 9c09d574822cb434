"""AMQP: what nodes publish at the broker is taken from a queue there, and commands are put into queues of theirs."""

from iot_gateway.listeners.amqp.listener import AmqpListener
from iot_gateway.listeners.amqp.options import AmqpListenerOptions

__all__ = ["AmqpListener", "AmqpListenerOptions"]
