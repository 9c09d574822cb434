"""Real machines for the tests: a state directory of their own, so that they run beside any model on this host."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tabletop.host import preflight, teardown
from tabletop.machine import Machines
from tabletop.network import Network
from tabletop.paths import Paths


def pytest_configure() -> None:
    """Let what ends a run, such as `timeout`, not keep fixtures from removing machines."""

    def leave(number: int, _frame: object) -> NoReturn:
        pytest.exit(f"ended by signal {number}", 128 + number)

    signal.signal(signal.SIGTERM, leave)


@pytest.fixture(scope="session")
def paths() -> Iterator[Paths]:
    """Directories of their own; the cache is the host's, so that the image is built once."""
    # Not below /tmp: that may be a tmpfs, and machines are big.
    state = Path(f"/var/tmp/tabletop-test-{os.getpid()}")
    paths = Paths(state, Paths.from_environment().cache, state / "run")
    preflight(paths)
    yield paths
    teardown(paths)
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def machines(paths: Paths) -> Machines:
    return Machines(paths, print)


@pytest.fixture(scope="session")
def pair(machines: Machines) -> tuple[str, str]:
    """Two machines that run."""
    for name in ("pair-0", "pair-1"):
        machines.create(name)
        machines.start(name)
    return "pair-0", "pair-1"


@pytest.fixture
def network(paths: Paths) -> Network:
    return Network(paths)
