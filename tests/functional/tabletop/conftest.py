"""Real machines for the tests: a state directory of their own, so that they run beside any model on this host."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tabletop.host import preflight, teardown
from tabletop.machine import Machines
from tabletop.network import Network
from tabletop.paths import Paths

# pytest's importlib mode puts no test folder on the path.
sys.path.insert(0, str(Path(__file__).parent))
import own_tabletop


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


@pytest.fixture(scope="module")
def own_state(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The state of a tabletop that the module has for itself, where it is what the command line means.

    The images of the host's are shared. All else of it is gone afterwards.
    """
    assert request.module.__file__
    root = Path(f"/var/tmp/tabletop-{Path(request.module.__file__).stem}-{os.getpid()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABLETOP_STATE", str(root))
        patch.setenv("TABLETOP_RUN", f"/run/{root.name}")
        patch.delenv("JUJU_MODEL", raising=False)
        try:
            own_tabletop.do("bootstrap")
            yield root
        finally:
            own_tabletop.do("destroy", "--no-prompt")
        assert not root.exists()


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
