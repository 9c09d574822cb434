"""A proof that the broker takes a message and gives it back."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false
# (pika has no type annotations)

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import pika
import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel

import topology

_TIMEOUT_S = 30


class SmokeTestError(Exception):
    """The broker did not do what it should; the text says what."""


@dataclass(frozen=True)
class Target:
    """Where and as whom to test."""

    host: str
    port: int
    username: str
    password: str


def smoke_test(target: Target, vhosts: Iterable[str]) -> float:
    """Publish with a confirm and consume back, then check the topology of each of ``vhosts``.

    The message goes over a private queue that the broker removes with the connection: nothing is left behind, and
    the queues of the telemetry are not touched.

    Returns:
        Seconds from the publication to the message's return.

    Raises:
        SmokeTestError: something failed.
    """
    checked = list(vhosts)
    try:
        with pika.BlockingConnection(_parameters(target, checked[0] if checked else "/")) as connection:
            seconds = _round_trip(connection.channel())
        for vhost in checked:
            with pika.BlockingConnection(_parameters(target, vhost)) as connection:
                channel = connection.channel()
                for queue in topology.QUEUES:
                    channel.queue_declare(queue, passive=True)
                for exchange in topology.EXCHANGES:
                    channel.exchange_declare(exchange, passive=True)
    except pika.exceptions.AMQPError as error:
        raise SmokeTestError(f"RabbitMQ at {target.host}:{target.port}: {error!r}") from error
    return seconds


def _round_trip(channel: BlockingChannel) -> float:
    body = uuid.uuid4().bytes
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    started = time.monotonic()
    channel.basic_publish("", queue, body, mandatory=True)  # returns once confirmed, raises if returned or refused
    for _, _, received in channel.consume(queue, auto_ack=True, inactivity_timeout=_TIMEOUT_S):
        if received is None:
            raise SmokeTestError(f"a message did not come back within {_TIMEOUT_S} s")
        if received != body:
            raise SmokeTestError("another message came back than was sent")
        break
    return time.monotonic() - started


def _parameters(target: Target, vhost: str) -> pika.ConnectionParameters:
    return pika.ConnectionParameters(
        host=target.host,
        port=target.port,
        virtual_host=vhost,
        credentials=pika.PlainCredentials(target.username, target.password),
        socket_timeout=_TIMEOUT_S,
        blocked_connection_timeout=_TIMEOUT_S,
    )
