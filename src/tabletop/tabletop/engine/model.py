"""One model: its state, its directory, and what its agents share."""

import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from tabletop.boot import Bind
from tabletop.charmfile import CharmFile
from tabletop.engine.debuglog import DebugLog
from tabletop.engine.faults import StateError, damaged
from tabletop.engine.store import Store
from tabletop.errors import TabletopError
from tabletop.partition import Cut
from tabletop.quotas import Limits

if TYPE_CHECKING:
    import subprocess

    from tabletop.engine.hooks import HookContext

JUJU_DIRECTORY = "/var/lib/juju"
"""Where a machine sees its folder of the model: charms, resources, hook tools and the socket they call."""


class NotFoundError(TabletopError):
    """Something an operator named isn't there."""


class Machines(Protocol):
    """What the engine needs of the machines; `tabletop.machine.Machines` has it."""

    def prepare(self, architecture: str | None = None, progress: Callable[[str], None] | None = None) -> object:
        """Make ready what all machines of an architecture are made from, telling of each step that takes a while."""
        ...

    def create(
        self, name: str, *, binds: Sequence[Bind] = (), architecture: str | None = None, limits: Limits = ...
    ) -> object:
        """Make a machine that sees some of the host's folders; one that is there keeps what it has."""
        ...

    def start(self, name: str) -> None:
        """Start a machine, unless it runs, and wait until it can run programs."""
        ...

    def stop(self, name: str) -> None:
        """Stop a machine."""
        ...

    def destroy(self, name: str) -> None:
        """Stop a machine and remove all of it; nothing happens if it isn't there."""
        ...

    def is_running(self, name: str) -> bool:
        """Tell whether a machine runs."""
        ...

    def incarnation(self, name: str) -> str:
        """Return what tells a machine's present run from others; "" if it doesn't run."""
        ...

    def kill(self, name: str) -> None:
        """End all that a machine runs, at once."""
        ...

    def cut(self, name: str, *, other: str | None = None, outside: bool = False, seconds: float | None = None) -> None:
        """Lose what a machine and everything, another machine or the outside world send to each other."""
        ...

    def heal(self, name: str | None = None, *, other: str | None = None, outside: bool = False) -> int:
        """Undo cuts; return how many there were."""
        ...

    def cuts(self) -> Sequence[Cut]:
        """Return what is cut, by the machines' names; raises a TabletopError if that can't be told."""
        ...

    def unenforceable(self) -> Sequence[str]:
        """Return what machines can't be held to, of `memory` and `cores`."""
        ...

    def address(self, name: str) -> str:
        """Return the machine's IPv4 address."""
        ...

    def leader(self, name: str) -> int | None:
        """Return the host's process id of a running machine's first process."""
        ...

    def root(self, name: str) -> Path:
        """Return the machine's root folder as the host sees it."""
        ...

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> "subprocess.Popen[Any]":
        """Start a program in a machine as root, the leader of a process group of its own."""
        ...

    def bind(self, name: str, bind: Bind) -> None:
        """Mount a folder of the host in a machine, at once if it runs, and from each of its starts on."""
        ...

    def unbind(self, name: str, target: str) -> None:
        """Undo `bind`; nothing happens if it isn't there."""
        ...

    def end_abandoned(self, name: str) -> int:
        """End the programs whose starter died while it waited for them; return how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be tuned; the tests use short delays."""

    hook_slots: int = 4
    machine_slots: int = 2
    retry_first: float = 5.0
    retry_max: float = 300.0
    machine_poll: float = 5.0
    secret_retry: float = 300.0
    """Seconds until a charm is told again of a secret that it did not rotate, or of a revision it did not remove."""
    juju_version: str = "3.6.9"
    juju_directory: str | None = JUJU_DIRECTORY
    """Where machines see their folder; None: where the host does (they are not containers)."""


class Model:
    """The state of a model and what its agents share; the operations on it are functions in other modules."""

    def __init__(self, directory: Path, machines: Machines, settings: Settings) -> None:
        """Open the model kept in a directory."""
        self.directory = directory
        self.machines = machines
        self.settings = settings
        self.store = Store(directory / "model.db")
        try:
            self.log = DebugLog(directory / "log.db")
        except StateError:
            self.store.close()
            raise
        row = self.store.one("SELECT name, uuid FROM model")
        if row is None:
            self.close()
            raise StateError(damaged(directory / "model.db", "it holds no model"))
        self.name: str = row["name"]
        self.uuid: str = row["uuid"]
        self.command_lock = threading.RLock()
        self.hook_slots = threading.BoundedSemaphore(settings.hook_slots)
        self.machine_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self.contexts: dict[str, HookContext] = {}
        self.on_new_units: Callable[[], None] = lambda: None
        """Called when a hook has brought units, which need agents."""
        self._charms: dict[str, CharmFile] = {}

    @classmethod
    def create(cls, directory: Path, name: str) -> None:
        """Make the directory of a new model; it appears whole or not at all."""
        draft = directory.with_name(f".{directory.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        for folder in ("charms", "resources", "machines", "storage"):
            (draft / folder).mkdir()
        store = Store(draft / "model.db")
        with store.write():
            store.execute(
                "INSERT INTO model (id, name, uuid, created) VALUES (1, ?, ?, ?)", name, str(uuid.uuid4()), time.time()
            )
        store.close()
        draft.rename(directory)

    def close(self) -> None:
        """Close the databases."""
        self.store.close()
        self.log.close()

    def machine_directory(self, number: int) -> Path:
        """Return a machine's folder on the host."""
        return self.directory / "machines" / str(number)

    def inside(self, number: int) -> str:
        """Return where a machine sees its folder."""
        return self.settings.juju_directory or str(self.machine_directory(number))

    def charm(self, digest: str) -> CharmFile:
        """Return the metadata of a charm in the model's store of charms."""
        if digest not in self._charms:
            self._charms[digest] = CharmFile.open(self.charm_path(digest))
        return self._charms[digest]

    def charm_of(self, application: str) -> CharmFile:
        """Return the metadata of an application's charm."""
        return self.charm(self.application(application)["charm"])

    def charm_path(self, digest: str) -> Path:
        """Return where a packed charm is kept."""
        return self.directory / "charms" / f"{digest}.charm"

    def resource_path(self, digest: str) -> Path:
        """Return where a resource is kept."""
        return self.directory / "resources" / digest

    def application(self, name: str) -> Any:
        """Return the row of an application.

        Raises:
            NotFoundError: there is no such application.
        """
        row = self.store.one("SELECT * FROM application WHERE name = ?", name)
        if row is None:
            raise NotFoundError(f'application "{name}" not found')
        return row

    def unit(self, name: str) -> Any:
        """Return the row of a unit; `<app>/leader` names the leader.

        Raises:
            NotFoundError: there is no such unit.
        """
        application, _, number = name.partition("/")
        if number == "leader":
            name = self.leader(application) or name
        row = self.store.one("SELECT * FROM unit WHERE name = ?", name)
        if row is None:
            raise NotFoundError(f'unit "{name}" not found')
        return row

    def machine_number(self, target: str) -> int:
        """Return which machine is meant by its number or by a unit on it; -1 if that can't be a number.

        Raises:
            NotFoundError: there is no such unit.
        """
        if "/" in target:
            return self.unit(target)["machine"]
        return int(target) if target.isdecimal() else -1

    def leader(self, application: str) -> str | None:
        """Return an application's leader: the lowest unit that is still there."""
        return self.store.value("SELECT name FROM unit WHERE application = ? ORDER BY number LIMIT 1", application)

    def config(self, application: str) -> dict[str, Any]:
        """Return the options of an application that are set or have a default."""
        row = self.application(application)
        options = self.charm(row["charm"]).config
        values = {name: option.default for name, option in options.items() if option.default is not None}
        values.update({name: value for name, value in json.loads(row["config"]).items() if name in options})
        return values


def keep_file(source: Path, store: Path, suffix: str = "") -> tuple[str, int]:
    """Copy a file into a content-addressed folder; return its SHA-256 and size.

    Raises:
        TabletopError: the file can't be read or the copy can't be written.
    """
    digest = hashlib.sha256()
    draft = store / f".new-{uuid.uuid4().hex}"
    try:
        with source.open("rb") as reader, draft.open("xb") as writer:
            while block := reader.read(1 << 20):
                digest.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        draft.chmod(0o444)
        size = draft.stat().st_size
        name = digest.hexdigest()
        draft.replace(store / f"{name}{suffix}")
    except OSError as error:
        raise TabletopError(f"{source}: can't be taken into the model: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return name, size
