"""Runs commands side by side, a few at a time, and shows what each says, line by line, behind its name."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Job:
    """A command; all it writes is shown behind its name."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    good: frozenset[int] = frozenset({0})
    """The exit statuses that are no failure."""


class SideBySide:
    """Runs jobs; a signal that is to end this process goes to those that run, and no other is begun.

    Args:
        workers: how many run at once.
        show: is told each line.
    """

    def __init__(self, workers: int, show: Callable[[str], None] = print) -> None:
        self._workers = workers
        self._show = show
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended_by: int | None = None

    def run(self, jobs: Sequence[Job]) -> list[str]:
        """Run the jobs, begun in their order; return the names of those that failed, or weren't begun."""
        former = {number: signal.signal(number, self._end) for number in _ENDING}
        try:
            with ThreadPoolExecutor(self._workers) as pool:
                done = list(pool.map(self._run, jobs))
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return [job.name for job, good in zip(jobs, done, strict=True) if not good]

    def _run(self, job: Job) -> bool:
        began = time.monotonic()
        with self._lock:
            if self._ended_by is not None:
                return False
            process = subprocess.Popen(
                job.command,
                cwd=job.folder,
                env={**os.environ, **job.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # A terminal's Ctrl-C reaches this process, which passes it on; twice would disturb the cleaning up.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            self._running.add(process)
        with process:
            assert process.stdout is not None  # noqa: S101 - asked for above
            for line in process.stdout:
                self._tell(job, line.rstrip("\n"))
        with self._lock:
            self._running.discard(process)
        good = process.returncode in job.good
        how = "passed" if good else f"failed with {process.returncode}"
        self._tell(job, f"{how} in {time.monotonic() - began:.0f} s")
        return good

    def _tell(self, job: Job, line: str) -> None:
        with self._lock:
            self._show(f"{job.name} | {line}")

    def _end(self, number: int, _frame: FrameType | None) -> None:
        # In a thread: the lock may be held by what this signal interrupts.
        threading.Thread(target=self._pass_on, args=(number,)).start()

    def _pass_on(self, number: int) -> None:
        with self._lock:
            self._ended_by = number
            for process in self._running:
                process.send_signal(number)


def _end_with_parent() -> None:
    """Get SIGTERM when the process that runs the jobs is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
