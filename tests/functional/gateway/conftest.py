"""The gateway's daemons: RabbitMQ and mosquitto once for all tests, a relay with queues of its own for each."""

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RabbitMq, SiteBroker, needed
from relay_rig import ACL, Node, Rig

_numbers = itertools.count()
PARTS = 16
"""In which a million payloads are tried: each takes a minute or two."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give tests that say so their part of the payloads; without ``--thorough`` there is one, and that a small one."""
    if "part" in metafunc.fixturenames:
        metafunc.parametrize("part", range(PARTS) if metafunc.config.getoption("--thorough") else [0])


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


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes: in memory, and with a journal in a file."""
    place = tmp_path / "small-disk"
    place.mkdir()
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    else:
        image = tmp_path / "small-disk.img"
        with image.open("wb") as file:
            file.truncate(8 * 2**20)
        subprocess.run([needed("mkfs.ext4", "e2fsprogs"), "-q", image], check=True)
        mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"this machine has no loop devices: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)
