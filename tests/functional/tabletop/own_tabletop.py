"""The command line of a tabletop that a test module has for itself."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jubilant

PROGRAM = Path(sys.executable).parent / "tabletop"


def tabletop(*words: object) -> "subprocess.CompletedProcess[str]":
    """Give a command, which may fail."""
    return subprocess.run([str(word) for word in (PROGRAM, *words)], text=True, capture_output=True, check=False)


def do(*words: object) -> str:
    """Give a command, which must succeed; return what it said."""
    done = tabletop(*words)
    assert done.returncode == 0, done.stderr
    return done.stderr


class Juju(jubilant.Juju):
    """jubilant as it is, driving that tabletop, but that it looks more often: here a status is a local one."""

    def __init__(self, *, model: str | None = None, wait_timeout: float = 180.0) -> None:
        super().__init__(model=model, wait_timeout=wait_timeout, cli_binary=PROGRAM)

    def wait(self, ready: Callable[[jubilant.Status], bool], **options: Any) -> jubilant.Status:
        return super().wait(ready, **{"delay": 0.2, **options})
