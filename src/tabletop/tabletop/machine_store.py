"""What is on disk of every machine: what it was made as, and where its files are."""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabletop.boot import Bind
from tabletop.errors import TabletopError
from tabletop.paths import Paths

_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class NoSuchMachineError(TabletopError):
    """There is no machine of this name."""


class SpoiltRecordError(TabletopError):
    """What is on disk of a machine can't be read."""


class NotRunningError(TabletopError):
    """The machine does not run."""


@dataclass(frozen=True)
class Machine:
    """What a machine was made as."""

    name: str
    index: int
    """Its number in the network."""
    address: str
    image: str
    """The base image below its overlay, by its name in the cache."""
    kind: str
    """Suite and architecture, such as ``bookworm-amd64``."""
    uuid: str
    binds: tuple[Bind, ...] = ()
    memory: int | None = None
    """The most bytes of memory that it may take."""
    cores: int | None = None
    """The most processors that it may keep busy."""

    @property
    def architecture(self) -> str:
        """Dpkg's name of its architecture."""
        return self.kind.rpartition("-")[2]

    def to_json(self) -> str:
        """As it is kept on disk."""
        return json.dumps(dataclasses.asdict(self), default=str, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Machine":
        """From what is on disk."""
        fields: dict[str, Any] = json.loads(text)
        binds = tuple(Bind(Path(bind["source"]), bind["target"], bind["read_only"]) for bind in fields.pop("binds"))
        return cls(**fields, binds=binds)


@dataclass(frozen=True)
class MachineStore:
    """The records of one tabletop's machines."""

    paths: Paths

    def names(self) -> list[str]:
        """The names of all machines, running or not."""
        return sorted(file.parent.name for file in self.paths.machines.glob("*/machine.json"))

    def get(self, name: str) -> Machine:
        """What a machine was made as.

        Raises:
            NoSuchMachineError: there is none of this name.
            SpoiltRecordError: its record can't be read.
        """
        file = self.directory(name) / "machine.json"
        try:
            return Machine.from_json(file.read_text())
        except FileNotFoundError as error:
            raise NoSuchMachineError(f"There is no machine {name}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SpoiltRecordError(f"{file} is spoilt ({error}): destroy the machine {name}.") from error

    def find(self, name: str) -> Machine | None:
        """What a machine was made as, or None if there is none of this name."""
        try:
            return self.get(name)
        except NoSuchMachineError:
            return None

    def all(self) -> list[Machine]:
        """Every machine whose record can be read, by its number."""
        machines: list[Machine] = []
        for name in self.names():
            with contextlib.suppress(NoSuchMachineError, SpoiltRecordError):
                machines.append(self.get(name))
        return sorted(machines, key=lambda machine: machine.index)

    def save(self, machine: Machine) -> None:
        """Record a machine, as a whole or not at all.

        Raises:
            TabletopError: its name won't do.
        """
        directory = self.directory(machine.name)
        directory.mkdir(parents=True, exist_ok=True)
        draft = directory / "machine.json.new"
        with draft.open("w") as file:
            file.write(machine.to_json())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(directory / "machine.json")

    def binds(self, name: str) -> Path:
        """The file with what a machine sees of the host, as its manager's arguments."""
        return self.directory(name) / "binds"

    def save_binds(self, name: str, binds: Sequence[Bind]) -> None:
        """Note what a machine sees of the host from its next boot on, whoever boots it.

        Raises:
            TabletopError: a path has a line's end in it.
        """
        lines = [bind.to_argument() for bind in binds]
        if any("\n" in line for line in lines):
            raise TabletopError(f"A path that the machine {name} is to see has a line's end in it.")
        draft = self.directory(name) / "binds.new"
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.replace(self.binds(name))

    def directory(self, name: str) -> Path:
        """Where all of a machine's files are.

        Raises:
            TabletopError: there can't be a machine of this name.
        """
        if not _NAME.match(name):
            raise TabletopError(
                f"{name!r} can't be a machine's name: use up to 63 lower-case letters, digits, hyphens."
            )
        return self.paths.machines / name

    def record(self, name: str) -> Path:
        """Where a machine's manager notes who it is."""
        return self.directory(name) / "process"

    def unit(self, name: str) -> str:
        """A machine's name among all that the host runs."""
        return f"{self.paths.tag}-{name}"

    def addresses(self) -> dict[str, str]:
        """Every machine's address, by name."""
        return {machine.name: machine.address for machine in self.all()}
