"""Packing charms without charmcraft."""

import argparse
from pathlib import Path

from tabletop.commands import Command, UsageError
from tabletop.emulation import ARCHITECTURES
from tabletop.format import note, out
from tabletop.packing import pack
from tabletop.session import Session
from tabletop.version import host_architecture


class Pack(Command):
    """`pack`."""

    notes = "A word of tabletop's own; `charmcraft pack` makes what Charmhub takes. The README says how the two differ."
    examples = ("pack charms/store", "pack charms/store charms/front -o build/")

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

        parser.add_argument(
            "--arch",
            action="append",
            default=[],
            choices=ARCHITECTURES,
            help="architecture to pack for (default: this machine's); may be given again, for a file each",
        )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Pack each folder; print the files."""
        if len(args.folders) > 1 and args.output.suffix == ".charm":
            raise UsageError(f"{args.output}: one file can't hold several charms; give a folder")
        wanted = list(dict.fromkeys(args.arch)) or [host_architecture()]
        if len(wanted) > 1 and args.output.suffix == ".charm":
            raise UsageError(f"{args.output}: one file can't be for several architectures; give a folder")
        cache = session.paths.cache / "charm-packages"
        for folder in args.folders:
            for arch in wanted:
                packed = pack(folder.resolve(), args.output, cache, note, architecture=arch)
                state = "packed" if packed.changed else "up to date"
                note(f"{packed.name}: {state} for {arch}" if args.arch else f"{packed.name}: {state}")
                out(str(packed.path))
