"""Packing charms without charmcraft."""

import argparse
from pathlib import Path

from tabletop.commands import Command, UsageError
from tabletop.format import note, out
from tabletop.packing import pack
from tabletop.session import Session


class Pack(Command):
    """`pack`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "folders", nargs="*", type=Path, default=[Path()], metavar="FOLDER", help="default: this one"
        )
        parser.add_argument(
            "-o",
            "--output",
            type=Path,
            default=Path(),
            metavar="PATH",
            help="file NAME.charm, or a folder (default: .)",
        )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Pack each folder; print the files."""
        if len(args.folders) > 1 and args.output.suffix == ".charm":
            raise UsageError(f"{args.output}: one file can't hold several charms; give a folder")
        for folder in args.folders:
            packed = pack(folder.resolve(), args.output, session.paths.cache / "charm-packages", note)
            note(f"{packed.name}: {'packed' if packed.changed else 'up to date'}")
            out(str(packed.path))
