"""Machines that are folders of this host: units run as plain processes, so tests of the engine need no container."""

import secrets
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leftovers import MARK, end_processes

from tabletop.boot import Bind
from tabletop.errors import TabletopError
from tabletop.partition import Cut
from tabletop.quotas import Limits


class HostMachines:
    """Each machine is a folder under `directory`; it runs while `<folder>/running` exists."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broken: set[str] = set()
        self.cutting: list[Cut] = []
        self.lacking: list[str] = []
        self.limits: dict[str, Limits] = {}
        self.unprepared: dict[str | None, threading.Event] = {}
        self.architectures: dict[str, str | None] = {}

    def prepare(self, architecture: str | None = None, progress: Callable[[str], None] | None = None) -> None:
        if architecture in self.unprepared and progress is not None:
            progress(f"the image for {architecture}")
            self.unprepared[architecture].wait(30)

    def create(
        self, name: str, *, binds: Sequence[object] = (), architecture: str | None = None, limits: Limits | None = None
    ) -> None:
        self.limits[name] = limits or Limits()
        if name in self.broken:
            raise TabletopError(f"{name} can't be made")
        self.architectures.setdefault(name, architecture)
        (self.directory / name).mkdir(parents=True, exist_ok=True)

    def start(self, name: str) -> None:
        file = self.directory / name / "running"
        if not file.exists():
            file.write_text(secrets.token_hex(8))

    def stop(self, name: str) -> None:
        self.end_abandoned(name)
        (self.directory / name / "running").unlink(missing_ok=True)

    def destroy(self, name: str) -> None:
        if (self.directory / name).exists():
            self.stop(name)
            (self.directory / name).rmdir()

    def is_running(self, name: str) -> bool:
        return (self.directory / name / "running").exists()

    def address(self, name: str) -> str:
        return f"127.0.0.{int(name.rpartition('-')[2]) + 10}"

    def leader(self, name: str) -> int | None:
        return 1 if self.is_running(name) else None

    def root(self, name: str) -> Path:
        return Path("/")

    def bind(self, name: str, bind: Bind) -> None:
        """Nothing: these machines see all of the host, and storage is where it lies."""

    def unbind(self, name: str, target: str) -> None:
        """Nothing, likewise."""

    def incarnation(self, name: str) -> str:
        file = self.directory / name / "running"
        return file.read_text() if file.exists() else ""

    def kill(self, name: str) -> None:
        self.stop(name)

    def cut(self, name: str, *, other: str | None = None, outside: bool = False, seconds: float | None = None) -> None:
        self.cutting.append(Cut(name, other or "", outside=outside, left=None if seconds is None else int(seconds)))

    def heal(self, name: str | None = None, *, other: str | None = None, outside: bool = False) -> int:
        healed = [
            cut
            for cut in self.cutting
            if name in (None, cut.link, cut.other)
            and (other is None or other in (cut.link, cut.other))
            and (not outside or cut.outside)
        ]
        self.cutting = [cut for cut in self.cutting if cut not in healed]
        return len(healed)

    def cuts(self) -> Sequence[Cut]:
        return self.cutting

    def unenforceable(self) -> Sequence[str]:
        return self.lacking

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
    ) -> "subprocess.Popen[Any]":
        marked = {**(env or {}), MARK: str(self.directory / name)}
        return subprocess.Popen(
            argv, env=marked, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )

    def end_abandoned(self, name: str) -> int:
        return end_processes(self.directory / name)
