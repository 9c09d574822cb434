"""A broker with its management API, and the charm's modules that speak to it."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pika.exceptions
import pytest
from daemons import RabbitMq, answers, free_port
from pika.adapters.blocking_connection import BlockingChannel

sys.path.insert(0, str(Path(__file__).parents[3] / "charms/rabbitmq/src"))

import topology
from management import Management, ManagementError
from rabbitmq import PLUGINS

LIMITS = topology.Limits(delivery_limit=3, stream_max_bytes=20_000_000, stream_max_age="1h", nodes_max_bytes=200_000)


class ManagedRabbitMq(RabbitMq):
    """A node with the plugins that the charm has."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.management_port = free_port()
        with (directory / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n")
            configuration.write("amqp1_0.default_user = none\n")
        (directory / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")

    def ready(self) -> bool:
        if not super().ready() or not answers(self.management_port):
            return False
        try:
            return self.management().whoami() == self.USER
        except ManagementError:
            return False

    def management(self) -> Management:
        return Management(f"http://127.0.0.1:{self.management_port}", self.USER, self.PASSWORD)


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
