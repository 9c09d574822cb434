"""Daemons of the tests' own, on machines that are folders; they end with the test, at the latest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from tabletop.client import Client, DaemonError
from tabletop.paths import Paths

_SCRIPT = Path(__file__).parent / "host_daemon.py"


class OneDaemon(Client):
    """A client that leaves it to the test to start a daemon: what it would start makes real machines."""

    def start(self) -> bool:
        raise DaemonError("there is none")


def paths_in(directory: Path) -> Paths:
    """Return the places of a tabletop that lives in a folder."""
    return Paths(directory / "state", directory / "cache", directory / "run")


def variables(paths: Paths) -> dict[str, str]:
    """Return what tells a program, by its environment, where its tabletop lives."""
    return {f"TABLETOP_{name.upper()}": str(getattr(paths, name)) for name in ("state", "cache", "run")}


def spawn(paths: Paths, log: IO[bytes] | None = None, **more: str) -> "subprocess.Popen[bytes]":
    """Start a daemon; it takes clients of any code, unless `TABLETOP_TEST_CODE` says which is its own."""
    environment = {**os.environ, **variables(paths), **more}
    return subprocess.Popen([sys.executable, str(_SCRIPT)], env=environment, stdout=log, stderr=log)


def end(process: "subprocess.Popen[bytes]", patience: float = 0.0) -> None:
    """End a daemon if it runs still: by asking, if there is patience, or by force."""
    try:
        if patience:
            process.terminate()
            process.wait(patience)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
