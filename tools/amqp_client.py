"""A node that speaks AMQP 0-9-1, for tests: publishes with confirms, through the gateway."""

import json
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import pika
from chain import AmqpNode
from pika.adapters.blocking_connection import BlockingChannel

READINGS_A_MESSAGE = 10


@contextmanager
def channel(node: AmqpNode) -> Generator[BlockingChannel]:
    """Yield a channel in confirm mode; over TLS where that is offered."""
    tls = pika.SSLOptions(ssl.create_default_context(cadata=node.ca), node.host) if node.tls_port else None
    parameters = pika.ConnectionParameters(
        host=node.host,
        port=node.tls_port or node.port,
        virtual_host=node.vhost,
        credentials=pika.PlainCredentials(node.username, node.password),
        ssl_options=tls,
        socket_timeout=10,
        stack_timeout=20,
    )
    connection = pika.BlockingConnection(parameters)
    try:
        opened = connection.channel()
        opened.confirm_delivery()
        yield opened
    finally:
        connection.close()


def publish(node: AmqpNode, body: bytes, *, words: str = "") -> None:
    """Publish a payload, and return when RabbitMQ has confirmed it.

    Args:
        node: that publishes.
        body: the payload.
        words: of the topic behind the node, each with a dot before it.
    """
    with channel(node) as opened:
        opened.basic_publish(node.exchange, node.routing_key + words, body, mandatory=True)


def publish_readings(node: AmqpNode, count: int) -> None:
    """Publish numbered readings as SenML, and return when all are confirmed."""
    with channel(node) as opened:
        for first in range(0, count, READINGS_A_MESSAGE):
            numbers = range(first, min(first + READINGS_A_MESSAGE, count))
            records = [{"n": f"{node.name}/level", "v": number, "seq": number} for number in numbers]
            opened.basic_publish(node.exchange, node.routing_key, json.dumps(records).encode(), mandatory=True)
