"""Runs a fetching tool with a line of progress every few seconds."""

import logging
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.errors import NoSpaceError

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
"""Seconds of silence after which a line of progress is due."""


def run(arguments: Sequence[str], *, what: str, cwd: Path, describe: Callable[[list[str]], str]) -> tuple[int, str]:
    """Run a tool to its end.

    Args:
        arguments: the command line.
        what: the start of each line of progress.
        cwd: working directory.
        describe: says how far the tool is, from the lines that it wrote so far.

    Returns:
        The exit code, and what the tool wrote.

    Raises:
        NoSpaceError: the tool found the disk full.
    """
    lines: list[str] = []
    arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    started = last = time.monotonic()
    with subprocess.Popen(
        arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        reader = threading.Thread(target=_read, args=(process, arrived), daemon=True)
        reader.start()
        try:
            while True:
                try:
                    line = arrived.get(timeout=1.0)
                    if line is None:
                        break
                    lines.append(line)
                except queue.Empty:
                    pass
                if time.monotonic() - last >= HEARTBEAT_S:
                    last = time.monotonic()
                    logger.info("%s: %s, %.0f s", what, describe(lines), last - started)
        except BaseException:
            process.terminate()
            raise
        reader.join()
    output = "".join(lines)
    if process.returncode and ("No space left on device" in output or "os error 28" in output):
        raise NoSpaceError(cwd)
    return process.returncode, output


def _read(process: "subprocess.Popen[str]", arrived: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
    for line in process.stdout:
        arrived.put(line)
    arrived.put(None)
