"""The version of Juju that is followed."""

import argparse
from importlib import metadata

from tabletop.commands import Command
from tabletop.commands.options import add_format
from tabletop.format import out, result
from tabletop.session import Session
from tabletop.version import client_version


class Version(Command):
    """`version`."""

    notes = "It has the form of Juju's, and names tabletop where Juju's names the series."
    examples = ("version", "version --all --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--all", action="store_true", help="tabletop's own version too")
        add_format(parser, "smart", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Print it in Juju's form, marked as tabletop's."""
        del session
        if not args.all:
            if args.format == "smart":
                out(client_version())
            else:
                result(client_version(), args.format)
            return
        try:
            own = metadata.version("tabletop")
        except metadata.PackageNotFoundError:
            own = "unpacked"
        value = {"version": client_version(), "tabletop-version": own, "note": "this is tabletop, not Juju"}
        result(value, "json" if args.format == "json" else "yaml")
