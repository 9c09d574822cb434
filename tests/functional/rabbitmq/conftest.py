"""A broker with its management API, and the charm's modules that speak to it."""

import contextlib
from collections.abc import Callable, Iterator

import pika
import pika.exceptions
import pytest
from managed_rabbitmq import LIMITS, ManagedRabbitMq, Management
from pika.adapters.blocking_connection import BlockingChannel


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedRabbitMq]:
    found = ManagedRabbitMq(tmp_path_factory.mktemp("rabbitmq"))
    found.start()
    yield found
    found.close()


@pytest.fixture(scope="session")
def management(broker: ManagedRabbitMq) -> Management:
    return broker.management()


@pytest.fixture
def vhost(request: pytest.FixtureRequest, management: Management) -> str:
    """A virtual host of the test's own, with the topology; its name is not one that a URL takes as it is."""
    name = f"of/{request.node.name}"[:100]
    management.ensure_vhost(name, LIMITS)
    return name


@pytest.fixture
def open_channel(broker) -> Iterator[Callable[[str, str, str], BlockingChannel]]:
    opened: list[pika.BlockingConnection] = []

    def begin(vhost: str, user: str, password: str) -> BlockingChannel:
        credentials = pika.PlainCredentials(user, password)
        parameters = pika.ConnectionParameters("127.0.0.1", broker.port, vhost, credentials)
        opened.append(pika.BlockingConnection(parameters))
        channel = opened[-1].channel()
        channel.confirm_delivery()
        return channel

    yield begin
    for connection in opened:
        # One whose user was removed is closed by the broker, which is noticed only now.
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()
