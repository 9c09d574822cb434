"""Storage that outlives its unit's machine: folders on this machine's disk."""

import argparse
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_model, storage_directives
from tabletop.commands.prompt import add_no_prompt, agreed
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, table
from tabletop.session import Session
from tabletop.status import section, storage_rows


class ListStorage(Command):
    """`storage`."""

    notes = "The sizes are what was asked for; nothing enforces them. The one pool is called tabletop."
    examples = ("storage", "storage --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("--filesystem", action="store_true", help="accepted: there is no other kind")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List it."""
        found: dict[str, Any] = session.call("storage", model=session.model(args.model))
        if args.format != "tabular":
            result(found, args.format)
            return
        header, rows = storage_rows(found)
        for line in table(header, rows) if rows else ["No storage to display."]:
            out(line)


class ShowStorage(Command):
    """`show-storage`."""

    examples = ("show-storage data/0", "show-storage data/0 data/1 --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("storage", nargs="+", metavar="STORAGE")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show each."""
        found: Mapping[str, Any] = section(session.call("storage", model=session.model(args.model)), "storage")
        for name in args.storage:
            if name not in found:
                raise TabletopError(f'storage instance "{name}" not found')
        result({name: found[name] for name in args.storage}, args.format)


class AddStorage(Command):
    """`add-storage`."""

    notes = "A directive is a count, a size or both (2,1G); the charm's metadata says how many a unit may have."
    examples = ("add-storage store/0 data=1", "add-storage store/0 data=2,512M")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("unit")
        parser.add_argument("directives", nargs="+", metavar="NAME[=DIRECTIVE]")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Add it, and say what it is called."""
        added = session.call(
            "add_storage",
            model=session.model(args.model),
            unit=args.unit,
            storage=storage_directives(args.directives),
        )
        for name in added:
            note(f"added storage {name} to {args.unit}")


class AttachStorage(Command):
    """`attach-storage`."""

    examples = ("attach-storage store/1 data/0",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("unit")
        parser.add_argument("storage", nargs="+", metavar="STORAGE")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Attach what is detached."""
        session.call("attach_storage", model=session.model(args.model), unit=args.unit, storage=args.storage)
        for name in args.storage:
            note(f"attaching {name} to {args.unit}")


class DetachStorage(Command):
    """`detach-storage`."""

    notes = "It keeps what is on it, and may be attached to another unit of the same charm."
    examples = ("detach-storage data/0",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("storage", nargs="+", metavar="STORAGE")
        parser.add_argument("--force", "--no-wait", action="store_true", help="accepted: it is detached anyway")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Detach it from its unit."""
        session.call("detach_storage", model=session.model(args.model), storage=args.storage)
        for name in args.storage:
            note(f"detaching {name}")


class RemoveStorage(Command):
    """`remove-storage`."""

    notes = "What is on it is gone then. Storage that is attached is only removed with --force."
    examples = ("remove-storage data/0", "remove-storage data/0 --force --no-prompt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("storage", nargs="+", metavar="STORAGE")
        parser.add_argument("--force", action="store_true", help="also what is attached")
        add_no_prompt(parser)

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Remove it."""
        listed = ", ".join(args.storage)
        if args.force and not agreed(args, f"This removes {listed} with what is on it."):
            return 1
        session.call("remove_storage", model=session.model(args.model), storage=args.storage, force=args.force)
        for name in args.storage:
            note(f"removing {name}")
        return None
