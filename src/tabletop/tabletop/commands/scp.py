"""Files to and from machines."""

import argparse
import subprocess
from dataclasses import dataclass
from getopt import GetoptError, gnu_getopt
from pathlib import PurePosixPath
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.machinery import Entrance, Stream, entrance
from tabletop.commands.options import add_ignored, add_model
from tabletop.errors import TabletopError
from tabletop.session import Session

_OPTIONS = "346ABCOpqRrTvc:D:F:i:J:l:o:P:S:X:"
"""Those of scp(1), in the notation of getopt(3)."""

# Where the last word of the destination is an existing folder, the file goes into it under its own name.
_RECEIVE_FILE = 'd=$1; [ -d "$d" ] && d=$d/$2; cat >"$d" && chmod "$3" "$d"'
_RECEIVE_FOLDER = 'd=$1; [ -d "$d" ] && d=$d/$2; mkdir -p "$d" && tar -xf - -C "$d"'


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a copy; `way` None is this machine."""

    way: Entrance | None
    path: str

    def popen(self, argv: list[str], *, stdin: Stream = None, stdout: Stream = None) -> "subprocess.Popen[Any]":
        """Start a program at this end."""
        if self.way is None:
            return subprocess.Popen(argv, stdin=stdin, stdout=stdout)
        return self.way.popen(argv, stdin=stdin, stdout=stdout)

    def ask(self, script: str) -> tuple[int, str]:
        """Run a shell script, with the path as its first argument; return its exit status and output."""
        with self.popen(_sh(script, self.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            output: bytes = process.stdout.read() if process.stdout else b""
        return process.returncode, output.decode(errors="replace").strip()

    def is_folder(self) -> bool:
        """Return whether there is a folder at the path."""
        return self.ask('[ -d "$1" ]')[0] == 0

    @property
    def name(self) -> str:
        """The last word of the path."""
        return PurePosixPath(self.path).name


class Scp(Command):
    """`scp`, without ssh."""

    notes = """\
Files keep their mode and belong to root, or to the user that is named. A relative path on a machine is below the
user's home. Options of scp other than -r have no effect. Names that end in / or are folders take files as they are."""
    examples = (
        "scp notes.txt store/0:/srv/",
        "scp -r store/0:/var/log/app ./logs",
        "scp -- -r -C folder store/0:",
        "scp store/0:/etc/hostname front/0:/tmp/of-store",
    )

    intermixed = False

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_ignored(parser, {"--no-host-key-checks": None, "--proxy": None}, why="there is no ssh in between")
        add_ignored(parser, {"--container": "NAME"}, why="it is for Kubernetes models")
        parser.add_argument("-r", dest="recursive", action="store_true", help="folders with all that is in them")
        add_ignored(parser, dict.fromkeys(("-C", "-p", "-q", "-v")), why="there is no scp in between")
        parser.add_argument("words", nargs=argparse.REMAINDER, metavar="[-r] [[USER@]UNIT:]PATH... [[USER@]UNIT:]PATH")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Copy."""
        words: list[str] = args.words[1:] if args.words[:1] == ["--"] else args.words
        try:
            options, paths = gnu_getopt(words, _OPTIONS)
        except GetoptError as error:
            raise UsageError(str(error)) from error
        if len(paths) < 2:
            raise UsageError("expected one source or several, and a destination")
        model = session.model(args.model)
        recursive: bool = args.recursive or ("-r", "") in options
        *sources, destination = [_place(session, model, path) for path in paths]
        if len(sources) > 1 and not destination.is_folder():
            raise TabletopError(f"{paths[-1]} isn't a folder; several files can only go into one")
        for source in sources:
            _copy(source, destination, recursive=recursive)


def _place(session: Session, model: str, text: str) -> Place:
    target, colon, path = text.partition(":")
    if not colon or target.startswith((".", "/")):
        return Place(None, text)
    return Place(entrance(session, model, target), path or ".")


def _sh(script: str, *args: str) -> list[str]:
    return ["/bin/sh", "-c", script, "sh", *args]


def _copy(source: Place, destination: Place, *, recursive: bool) -> None:
    status, kind = source.ask('stat -L -c "%F %a" "$1" 2>/dev/null')
    if status:
        raise TabletopError(f"{source.path}: no such file")
    kind, _, mode = kind.rpartition(" ")
    if kind == "directory":
        if not recursive:
            raise TabletopError(f"{source.path} is a folder; give -r to copy it")
        _pipe(
            source,
            ["tar", "-cf", "-", "-C", source.path, "."],
            destination,
            _sh(_RECEIVE_FOLDER, destination.path, source.name),
        )
        return
    _pipe(source, ["cat", source.path], destination, _sh(_RECEIVE_FILE, destination.path, source.name, mode))


def _pipe(source: Place, reading: list[str], destination: Place, writing: list[str]) -> None:
    with (
        source.popen(reading, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as reader,
        destination.popen(writing, stdin=reader.stdout) as writer,
    ):
        if reader.stdout:
            # The writer has it: the reader is to notice if the writer ends.
            reader.stdout.close()
    if writer.returncode:
        raise TabletopError(f"{destination.path}: can't be written (exit status {writer.returncode})")
    if reader.returncode:
        raise TabletopError(f"{source.path}: can't be read (exit status {reader.returncode})")
