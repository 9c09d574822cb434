"""The process that holds the models and runs their units: `python -m tabletop.daemon`.

One runs for each state directory. It may die at any moment: machines and what runs in them go on, and the next one
takes up where it left off.
"""

import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from tabletop.client import REFUSAL_MARK, REFUSED
from tabletop.codehash import code_hash
from tabletop.engine.controller import Controller
from tabletop.engine.model import Machines, Settings
from tabletop.engine.rpc import ApiServer
from tabletop.errors import TabletopError
from tabletop.hostcheck import check_control_groups, check_directories, check_rights
from tabletop.image_store import register
from tabletop.machine import Machines as Containers
from tabletop.paths import Paths
from tabletop.settings import image_packages
from tabletop.version import JUJU_VERSION

logger = logging.getLogger(__name__)
PATIENCE_S = 20.0
"""How long hooks that run may take to end before this process does; the next one runs them again."""
_SWITCH_S = 0.001
"""A hook tool's caller waits while another thread holds the interpreter, by default for up to 5 ms."""


def main() -> int:
    """Serve until told to end; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    paths = Paths.from_environment()
    sys.setswitchinterval(_SWITCH_S)
    try:
        check_rights()
        check_directories(paths)
        check_control_groups()
        register(paths)
    except TabletopError as error:
        logger.error("%s%s", REFUSAL_MARK, error)
        return REFUSED
    try:
        machines = Containers(paths, lambda line: logger.info("%s", line), include=image_packages(paths))
        run_daemon(paths, machines, Settings(juju_version=JUJU_VERSION), code_hash())
    except TabletopError as error:
        logger.error("%s", error)
        return 1
    return 0


def run_daemon(paths: Paths, machines: Machines, settings: Settings, code: str = "") -> None:
    """Hold the models under a state directory and serve the API until a signal or `shutdown`.

    Args:
        paths: the directories.
        machines: what runs the units.
        settings: what can be tuned.
        code: see `ApiServer`.

    Raises:
        TabletopError: another daemon does so already.
    """
    for directory in (paths.state, paths.run):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _lock(paths.run / "daemon.lock")
    try:
        controller = Controller(paths.state, machines, settings)
        server = ApiServer(controller, paths.run / "api.sock", settings.juju_version, code)

        def end(_number: int, _frame: FrameType | None) -> None:
            server.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        logger.info("serving %s, process %d", paths.run / "api.sock", os.getpid())
        server.serve()
        logger.info("ending; machines go on")
        controller.stop(PATIENCE_S)
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise TabletopError(f"a daemon runs already: {path} is locked") from None
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
