"""The command line: Juju's words for what runs on this machine alone."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from tabletop.commands import ALIASES, REFUSED, VERBS, Command, UsageError
from tabletop.commands.verbs import JUJU, OWN
from tabletop.errors import TabletopError
from tabletop.format import note, out, table
from tabletop.paths import Paths
from tabletop.session import Session

_INTRODUCTION = """\
tabletop is NOT Juju. It runs Juju charms and bundles on this one Linux machine, without a controller, for
trying and testing them. It takes the words of the 'juju' client; 'tabletop VERB --help' tells what a verb takes.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (try '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words)
        sys.stdout.flush()
    except UsageError as error:
        note(f"ERROR {error}")
        return 2
    except TabletopError as error:
        note(f"ERROR {error}")
        return 1
    except BrokenPipeError:
        # The reader has seen enough; nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # A file that can't be read, a disk without room: what it is about and the reason are all there is to say.
        note(f"ERROR {error.filename}: {error.strerror}" if error.filename else f"ERROR {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        note("interrupted")
        return 130
    return status


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help") or words == ["help"]:
        out(_overview())
        return 0
    if words[0] == "help":
        words = [words[1], "--help"]
    name = "version" if words[0] == "--version" else ALIASES.get(words[0], words[0])
    if name in REFUSED:
        raise TabletopError(f"tabletop doesn't have {name!r}: {REFUSED[name]}")
    if name not in VERBS:
        near = get_close_matches(name, VERBS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; 'tabletop help' lists what it does"
        raise UsageError(f"tabletop doesn't have {name!r}{hint}")
    command, parser = command_of(name)
    # A verb and its options may be mixed freely, as Juju allows.
    args = parser.parse_intermixed_args(words[1:]) if command.intermixed else parser.parse_args(words[1:])
    return command.run(Session(Paths.from_environment()), args) or 0


def command_of(name: str) -> tuple[Command, argparse.ArgumentParser]:
    """Return a verb's command and the parser of its arguments."""
    verb = VERBS[name]
    command: Command = getattr(importlib.import_module(f"tabletop.commands.{verb.module}"), verb.command)()
    examples = "\n".join(f"  tabletop {example}" for example in command.examples)
    parser = _Parser(
        prog=f"tabletop {name}",
        description=f"{verb.summary}.\n(tabletop is NOT Juju; it takes Juju's words.)",
        epilog="\n\n".join(text for text in (command.notes.strip(), f"examples:\n{examples}") if text),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    return command, parser


def _overview() -> str:
    lines = [_INTRODUCTION]
    for title, verbs in (("Own words:", OWN), ("Juju's words:", JUJU)):
        rows = [(f"  {name}", verb.summary) for name, verb in verbs.items()]
        lines += [title, *table(("", ""), rows)[1:], ""]
    lines.append(f"{len(REFUSED)} more words of Juju's are refused, each with the reason.")
    return "\n".join(lines)
