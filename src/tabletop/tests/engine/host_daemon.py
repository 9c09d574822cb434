"""The real daemon on machines that are folders of this host, with short delays; it ends with who started it."""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from host_machines import HostMachines

import tabletop.daemon
from tabletop.daemon import run_daemon
from tabletop.engine.model import Settings
from tabletop.paths import Paths

SETTINGS = Settings(retry_first=0.2, retry_max=0.5, machine_poll=0.2, juju_directory=None)


def end_with(parent: int) -> None:
    """End once the process is gone that started this one, for nobody would end it then."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    paths = Paths.from_environment()
    tabletop.daemon.PATIENCE_S = float(os.environ.get("TABLETOP_TEST_PATIENCE", "20"))
    run_daemon(paths, HostMachines(paths.state / "machines"), SETTINGS, os.environ.get("TABLETOP_TEST_CODE", ""))
