"""A shell, or one command, on a unit's machine."""

import argparse
import shlex
import sys

from tabletop.commands import Command
from tabletop.commands.machinery import entrance
from tabletop.commands.options import add_ignored, add_model
from tabletop.format import note
from tabletop.session import Session

_SSH_OPTIONS_WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"


class Ssh(Command):
    """`ssh`, without ssh: the machine is entered directly."""

    intermixed = False
    notes = """\
There is no ssh in between: the machine is entered directly, as root (Juju's user ubuntu may do all through sudo) or as
the user that is named. Options of the ssh client that stand before the command have no effect, and say so. On a
terminal the shell or the command gets a terminal of the machine's own. The exit status is the command's."""
    examples = (
        "ssh store/0",
        "ssh store/leader 'systemctl status nginx | head'",
        "ssh 0 journalctl -b",
        "ssh www-data@store/0 id",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_ignored(parser, {"--no-host-key-checks": None, "--proxy": None}, why="there is no ssh in between")
        add_ignored(parser, {"--container": "NAME"}, why="it is for Kubernetes models")
        parser.add_argument(
            "--pty", choices=["auto", "true", "false"], default="auto", help="a terminal of its own (if this is on one)"
        )
        parser.add_argument("target", metavar="[USER@]UNIT | [USER@]MACHINE")
        parser.add_argument("command", nargs=argparse.REMAINDER, help="a shell command; without one, a shell is opened")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Run the shell or the command."""
        way = entrance(session, session.model(args.model), args.target)
        command = _without_ssh_options(args.command)
        argv = ["/bin/bash", "-c", " ".join(command)] if command else ["/bin/bash", "-l"]
        if sys.stdin.isatty() and sys.stdout.isatty() and args.pty != "false":
            argv = _on_terminal(argv)
        sys.stdout.flush()
        with way.popen(argv, terminal=sys.stdin.isatty()) as process:
            return process.wait()


def _on_terminal(argv: list[str]) -> list[str]:
    """Return what runs a program on a terminal that the machine itself has.

    This machine's terminal is none to the programs inside: theirs are in a file system of their own. `script` is in
    every Debian and Ubuntu machine (package bsdutils); it passes on keys, the window's size and the exit status.
    """
    return ["script", "--quiet", "--return", "--command", f"exec {shlex.join(argv)}", "/dev/null"]


def _without_ssh_options(words: list[str]) -> list[str]:
    """Drop the options of the ssh client that stand before the command; there is no ssh client here."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        word = words[position]
        position += 1
        if word == "--":
            break
        note(f"NOTICE {word} has no effect: there is no ssh in between")
        if len(word) == 2 and word[1] in _SSH_OPTIONS_WITH_VALUE:
            position += 1
    return words[position:]
