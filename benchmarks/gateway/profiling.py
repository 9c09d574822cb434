"""Where the relay's time goes: py-spy samples its stacks, a hundred a second, while it is flooded."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from daemons import Daemon

_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::\d+)?\)$")
_WAITING = re.compile(r"^_worker \(.*concurrent/futures/thread\.py")
_PACKAGES = ("iot_gateway", "iot_telemetry", "asyncio", "pika", "concurrent")


class Profile:
    """A recording of a running relay."""

    def __init__(self, relay: Daemon, path: Path, seconds: float):
        """Begin it.

        Args:
            relay: that runs.
            path: of the file to make: a stack and its samples a line, as flame graphs are made of.
            seconds: to record.

        Raises:
            FileNotFoundError: there is no py-spy.
        """
        program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
        if program is None:
            raise FileNotFoundError("py-spy is needed: pip install py-spy")
        assert relay.process is not None
        command = [program, "record", "--pid", str(relay.process.pid), "--duration", str(round(seconds))]
        command += ["--format", "raw", "--full-filenames", "--output", str(path)]
        self._path = path
        self._recorder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def shares(self) -> dict[str, float]:
        """Wait for its end, and return the per cent of the samples in each module, the largest first.

        A sample counts for the Python function that was running, with what it calls of C: of the JSON library, zlib,
        the system. Threads that wait for work don't count; modules with less than 1 % are left out.
        """
        if self._recorder.wait(60):
            raise RuntimeError(f"py-spy ended with {self._recorder.returncode}")
        counted: Counter[str] = Counter()
        for line in self._path.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            running = stack.rpartition(";")[2]
            if not _WAITING.search(running):
                counted[_module(running)] += int(samples)
        total = counted.total()
        return {name: round(100 * n / total, 1) for name, n in counted.most_common() if n >= total / 100}


def _module(frame: str) -> str:
    found = _FRAME.match(frame)
    if found is None:
        return frame
    parts = Path(found["file"]).with_suffix("").parts
    for package in _PACKAGES:
        if package in parts:
            return ".".join(parts[len(parts) - 1 - parts[::-1].index(package) :])
    return parts[-1]
