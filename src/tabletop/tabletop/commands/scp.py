"""Files to and from machines."""

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import PurePosixPath

from tabletop.commands import Command, UsageError
from tabletop.commands.machinery import Machine, find, inside
from tabletop.commands.options import add_ignored, add_model
from tabletop.errors import TabletopError
from tabletop.session import Session

# Where the last word of the destination is an existing folder, the file goes into it under its own name.
_RECEIVE_FILE = 'd=$1; [ -d "$d" ] && d=$d/$2; cat >"$d" && chmod "$3" "$d"'
_RECEIVE_FOLDER = 'd=$1; [ -d "$d" ] && d=$d/$2; mkdir -p "$d" && tar -xf - -C "$d"'


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a copy; `machine` None is this machine."""

    machine: Machine | None
    path: str
    user: str = "root"

    def command(self, argv: list[str]) -> list[str]:
        """Return the command that runs another one at this end."""
        return inside(self.machine, argv, user=self.user) if self.machine else argv

    def sh(self, script: str, *args: str) -> list[str]:
        """Return the command that runs a shell script at this end."""
        return self.command(["/bin/sh", "-c", script, "sh", *args])

    def is_folder(self) -> bool:
        """Return whether there is a folder at the path."""
        return subprocess.run(self.sh('[ -d "$1" ]', self.path), check=False).returncode == 0

    @property
    def name(self) -> str:
        """The last word of the path."""
        return PurePosixPath(self.path).name


class Scp(Command):
    """`scp`, without ssh."""

    intermixed = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_ignored(parser, {"--no-host-key-checks": None, "--proxy": None}, why="there is no ssh in between")
        add_ignored(parser, {"--container": "NAME"}, why="it is for Kubernetes models")
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="[-r] [[USER@]UNIT:]PATH... [[USER@]UNIT:]PATH")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Copy."""
        words: list[str] = args.words[1:] if args.words[:1] == ["--"] else args.words
        flags = [word for word in words if word.startswith("-")]
        paths = [word for word in words if not word.startswith("-")]
        if len(paths) < 2:
            raise UsageError("expected one source or several, and a destination")
        model = session.model(args.model)
        recursive = any(flag.startswith("-") and not flag.startswith("--") and "r" in flag for flag in flags)
        *sources, destination = [_place(session, model, path) for path in paths]
        if len(sources) > 1 and not destination.is_folder():
            raise TabletopError(f"{paths[-1]} isn't a folder; several files can only go into one")
        for source in sources:
            _copy(source, destination, recursive=recursive)


def _place(session: Session, model: str, text: str) -> Place:
    target, colon, path = text.partition(":")
    if not colon or target.startswith((".", "/")):
        return Place(None, text)
    user, _, target = target.rpartition("@")
    return Place(find(session, model, target), path or ".", "root" if user in ("", "ubuntu") else user)


def _copy(source: Place, destination: Place, *, recursive: bool) -> None:
    if source.is_folder():
        if not recursive:
            raise TabletopError(f"{source.path} is a folder; give -r to copy it")
        _pipe(
            source.command(["tar", "-cf", "-", "-C", source.path, "."]),
            destination.sh(_RECEIVE_FOLDER, destination.path, source.name),
        )
        return
    mode = subprocess.run(
        source.command(["stat", "-L", "-c", "%a", source.path]), capture_output=True, text=True, check=False
    )
    if mode.returncode:
        raise TabletopError(f"{source.path}: no such file")
    _pipe(
        source.command(["cat", source.path]),
        destination.sh(_RECEIVE_FILE, destination.path, source.name, mode.stdout.strip()),
    )


def _pipe(reading: list[str], writing: list[str]) -> None:
    with subprocess.Popen(reading, stdout=subprocess.PIPE) as reader:
        writer = subprocess.run(writing, stdin=reader.stdout, stderr=subprocess.PIPE, text=True, check=False)
        if reader.stdout:
            reader.stdout.close()
    if writer.returncode:
        raise TabletopError(f"can't write: {writer.stderr.strip() or f'exit status {writer.returncode}'}")
    if reader.returncode:
        raise TabletopError(f"can't read: exit status {reader.returncode}")
