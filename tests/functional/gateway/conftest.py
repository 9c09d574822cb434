"""The gateway's daemons: RabbitMQ and mosquitto once for all tests, a relay with queues of its own for each."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RabbitMq, SiteBroker
from relay_rig import ACL, Node, Rig

_numbers = itertools.count()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    broker = RabbitMq(tmp_path_factory.mktemp("rabbitmq"))
    broker.start()
    yield broker
    broker.close()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[SiteBroker]:
    broker = SiteBroker(tmp_path / "mosquitto", ACL)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def make_rig(tmp_path: Path, rabbitmq: RabbitMq, mosquitto: SiteBroker) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; their relays are not started yet."""
    made: list[Rig] = []

    def make(**settings: Any) -> Rig:
        rig = Rig(tmp_path / f"relay-{next(_numbers)}", rabbitmq, mosquitto, **settings)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A rig whose relay runs and is connected at both ends."""
    made = make_rig()
    made.relay.start()
    made.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return made


@pytest.fixture
def node(rig: Rig) -> Node:
    return Node(rig.port)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small-disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)
