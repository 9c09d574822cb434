#!/usr/bin/env python3
"""Run a command with a tabletop of its own in the place of `juju`.

    tools/with_tabletop.py pytest tests/model

The command finds tabletop as `juju` on its PATH, with an empty state under /var/lib/tabletop-test, beside one that
`make up` runs; the bundle's resources and charms are built first. Machines, bridge and rules are removed when the
command ends and when this is interrupted or ended; what an interrupted run left behind is removed by the next.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import prepare

STATE = Path("/var/lib/tabletop-test")
RUN = Path("/run/tabletop-test")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedError(Exception):
    """A signal asked for the end; its number."""


def end(number: int, _frame: FrameType | None) -> NoReturn:
    """Handle a signal once; what removes the machines isn't disturbed by another."""
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise EndedError(number)


def call(*command: str | Path, environment: Mapping[str, str]) -> None:
    """Run a command that has to succeed."""
    subprocess.run(list(map(str, command)), env=environment, check=True)


@contextmanager
def own_tabletop(tabletop: Path) -> Generator[Mapping[str, str]]:
    """Yield the environment in which `juju` is a tabletop with nothing in it; all it made is removed after."""
    # Never one that the caller's environment names: what is in it is destroyed.
    environment = {**os.environ, "TABLETOP_STATE": str(STATE), "TABLETOP_RUN": str(RUN)}
    with tempfile.TemporaryDirectory(prefix="with-tabletop-") as folder:
        (Path(folder) / "juju").symlink_to(tabletop)
        environment["PATH"] = os.pathsep.join((folder, environment["PATH"]))
        call(tabletop, "destroy", "--no-prompt", environment=environment)
        try:
            call(*prepare.bootstrap(tabletop), environment=environment)
            yield environment
        finally:
            call(tabletop, "destroy", "--no-prompt", environment=environment)


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end; if this process is told to end, so is the command."""
    ended: list[int] = []
    for number in ENDING:
        # Raised before the command is known here, it would leave that running.
        signal.signal(number, lambda number, _frame: ended.append(number))
    with subprocess.Popen(command, env=environment) as process:
        try:
            for number in ENDING:
                signal.signal(number, end)
            if ended:
                end(ended[0], None)
            return process.wait()
        except EndedError as error:
            process.send_signal(error.args[0])
            raise


def main(command: list[str]) -> int:
    """Run the command line; the exit status is the command's."""
    if not command or command[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    tabletop = shutil.which("tabletop", path=str(Path(sys.executable).parent))
    if tabletop is None:
        print("ERROR no tabletop beside this Python; run `make test` or `tools/setup dev` first", file=sys.stderr)
        return 1
    for number in ENDING:
        signal.signal(number, end)
    try:
        with own_tabletop(Path(tabletop)) as environment:
            call(*prepare.resources(), environment=environment)
            for pack in prepare.charms(Path(tabletop)):
                call(*pack, environment=environment)
            return run(command, environment)
    except subprocess.CalledProcessError as error:
        print(f"ERROR {' '.join(error.cmd)} ended with {error.returncode}", file=sys.stderr)
        return 1
    except EndedError as error:
        return 128 + int(error.args[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
