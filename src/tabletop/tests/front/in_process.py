"""The command line in the tests' own process, where it is quicker and its coverage is seen, and jubilant driving it."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jubilant

from tabletop import cli

BINARY = Path(sys.executable).parent / "tabletop"


def tabletop(*words: object, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command line in this process, which takes a tenth of the time that one of its own takes."""
    argv = [str(word) for word in words]
    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO(stdin or "")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(argv)
    finally:
        sys.stdin = before
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


class InProcess(jubilant.Juju):
    """jubilant as it is, but that the command line runs in this process."""

    def __init__(self, *, model: str | None = None, wait_timeout: float = 60.0) -> None:
        super().__init__(model=model, wait_timeout=wait_timeout, cli_binary=BINARY)

    def wait(self, ready: Callable[[jubilant.Status], bool], **options: Any) -> jubilant.Status:
        """Wait as jubilant does, but look more often: here hooks take a fraction of a second."""
        return super().wait(ready, **{"delay": 0.05, **options})

    def _cli(
        self,
        *args: str,
        include_model: bool = True,
        stdin: str | None = None,
        log: bool = True,
        timeout: float | None = None,
    ) -> tuple[str, str]:
        if include_model and self.model is not None:
            args = (args[0], "--model", self.model, *args[1:])
        done = tabletop(*args, stdin=stdin)
        if done.returncode:
            raise jubilant.CLIError(done.returncode, ["tabletop", *args], done.stdout, done.stderr)
        return done.stdout, done.stderr
