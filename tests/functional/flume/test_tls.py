"""The agent reads RabbitMQ over TLS, from the broker that it means and from no other."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from daemons import free_port, wait_until
from flume_chain import Broker, RabbitmqReader

from iot_charm.flume.rabbitmq import Target
from iot_charm.testing import Authority

QUEUE = "iot.telemetry"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[tuple[Broker, int]]:
    """A broker, and its port for TLS; its certificate is for 127.0.0.1, not for the name localhost."""
    made = Broker(tmp_path_factory.mktemp("rabbitmq-tls"))
    port = made.offer_tls(*authority.issue("rabbitmq-0", sans_ip=["127.0.0.1"]), authority.ca)
    made.start()
    yield made, port
    made.close()


@pytest.fixture
def broker(secured: tuple[Broker, int]) -> Broker:
    return secured[0]


@pytest.fixture
def read(
    tmp_path: Path, flume_home: Path, secured: tuple[Broker, int], queue: str
) -> Iterator[Callable[[str, str], RabbitmqReader]]:
    """Start an agent that reaches the broker by a name and trusts an authority; its channel is where batches end."""
    made: list[RabbitmqReader] = []

    def start(host: str, ca: str) -> RabbitmqReader:
        broker, port = secured
        access = replace(broker.access(queue), addresses=((host, port if ca else broker.port),), ca=ca)
        nowhere = Target("flume-hdfs/0", "127.0.0.1", free_port())
        reader = RabbitmqReader(tmp_path / "reader", flume_home, access, [nowhere], "tls")
        # Over TLS that fails there is no source that starts.
        reader.ready = lambda: "name: rabbitmq" in reader.log.read_text() or "error" in reader.log.read_text()
        made.append(reader)
        reader.start()
        return reader

    yield start
    for reader in made:
        reader.stop(60)


def waiting(broker: Broker) -> int:
    with broker.connect() as connection:
        return connection.channel().queue_declare(QUEUE, passive=True).method.message_count


def fill(broker: Broker) -> None:
    with broker.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for _ in range(50):
            channel.basic_publish(QUEUE, "site.gateway", b"a batch")
    wait_until(lambda: waiting(broker) == 50, 10, "the batches in the queue")


def test_the_queue_is_read_over_tls(read: Callable[[str, str], RabbitmqReader], broker: Broker, authority: Authority):
    fill(broker)
    reader = read("127.0.0.1", Authority("of somebody else").ca + authority.ca)
    wait_until(lambda: waiting(broker) == 0, 40, "an empty queue")
    assert "trusts every certificate" not in reader.log.read_text()


def test_without_an_authority_it_is_read_without_tls(read: Callable[[str, str], RabbitmqReader], broker: Broker):
    fill(broker)
    read("127.0.0.1", "")
    wait_until(lambda: waiting(broker) == 0, 40, "an empty queue")


@pytest.mark.parametrize(
    ("host", "is_authority", "reason"),
    [
        ("127.0.0.1", False, "unable to find valid certification path"),
        ("localhost", True, "No name matching localhost"),
    ],
    ids=["authority", "name"],
)
def test_another_broker_is_told_nothing(
    read: Callable[[str, str], RabbitmqReader],
    broker: Broker,
    authority: Authority,
    host: str,
    is_authority: bool,
    reason: str,
):
    fill(broker)
    reader = read(host, authority.ca if is_authority else Authority("of somebody else").ca)
    wait_until(lambda: reason in reader.log.read_text(), 40, f"{reason!r} in the agent's log")
    assert waiting(broker) == 50
