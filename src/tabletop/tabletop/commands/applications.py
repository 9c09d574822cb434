"""Units and relations of applications that are there already."""

import argparse

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_ignored, add_model, listed, placements
from tabletop.commands.prompt import add_no_prompt, agreed
from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.session import Session
from tabletop.status import units_in_error


def _add_ends(parser: argparse.ArgumentParser) -> None:
    """Declare the model and the two ends of a relation."""
    add_model(parser)
    for end in ("first", "second"):
        parser.add_argument(end, metavar="APPLICATION[:ENDPOINT]")


class AddUnit(Command):
    """`add-unit`."""

    examples = ("add-unit store", "add-unit store -n 2 --to 0,new")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("-n", "--num-units", type=int, default=1, help="how many (default 1)")
        parser.add_argument("--to", action="append", default=[], metavar="MACHINE[,...]", help="where: 0, or new")
        parser.add_argument(
            "--attach-storage", action="append", default=[], metavar="ID[,...]", help="for the new unit"
        )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Add them."""
        if args.num_units < 1:
            raise UsageError(f"--num-units must be a positive integer, got {args.num_units}")
        session.call(
            "add_unit",
            model=session.model(args.model),
            app=args.application,
            num_units=args.num_units,
            to=placements(args.to),
            attach=listed(args.attach_storage),
        )


class RemoveUnit(Command):
    """`remove-unit`."""

    notes = "Their last hooks run, then they are gone; a machine goes with its last unit."
    examples = ("remove-unit store/1", "remove-unit store/1 store/2 --force --no-prompt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("units", nargs="+", metavar="UNIT")
        parser.add_argument("--no-prompt", action="store_true", help="accepted: nothing is asked anyway")
        parser.add_argument("--force", action="store_true", help="don't wait for its last hooks")
        parser.add_argument("--num-units", type=int, help="refused: name the units")
        parser.add_argument("--destroy-storage", action="store_true", help="remove the storage, too; else it is kept")
        add_ignored(parser, {"--no-wait": None}, why="nothing is waited for")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Remove them, one after another."""
        if args.num_units is not None:
            raise UsageError("--num-units is for Kubernetes models; name the units to remove")
        model = session.model(args.model)
        for unit in args.units:
            session.call("remove_unit", model=model, unit=unit, force=args.force, destroy_storage=args.destroy_storage)
            note(f"will remove unit {unit}")


class RemoveApplication(Command):
    """`remove-application`."""

    notes = "Relations end and units run their last hooks first; with --force units are gone at once."
    examples = ("remove-application store", "remove-application store front --no-prompt --force")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("applications", nargs="+", metavar="APPLICATION")
        add_no_prompt(parser)
        parser.add_argument("--force", action="store_true", help="don't wait for its units' last hooks")
        parser.add_argument("--destroy-storage", action="store_true", help="remove the storage, too; else it is kept")
        add_ignored(parser, {"--no-wait": None}, why="nothing is waited for")

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Remove them, one after another."""
        model = session.model(args.model)
        listed = ", ".join(args.applications)
        if not agreed(args, f"This removes {listed} with all units and what is on their machines."):
            return 1
        for app in args.applications:
            session.call(
                "remove_application", model=model, app=app, force=args.force, destroy_storage=args.destroy_storage
            )
            note(f"will remove application {app}")
        return None


class Integrate(Command):
    """`integrate`, once called `relate`."""

    notes = "The endpoints need only be named where several pairs fit. Both applications are of this model."
    examples = ("integrate store front", "integrate store:data front:data")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _add_ends(parser)
        parser.add_argument("--via", metavar="CIDR", help="refused: it is for relations between models")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Relate them."""
        if args.via is not None:
            raise TabletopError("--via is for relations between models, which aren't there; relate without it")
        session.call("integrate", model=session.model(args.model), a=args.first, b=args.second)


class RemoveRelation(Command):
    """`remove-relation`."""

    notes = "It goes when its units have run relation-departed and relation-broken."
    examples = ("remove-relation store front", "remove-relation store:data front:data")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        _add_ends(parser)
        add_ignored(parser, {"--force": None}, why="a relation goes when its hooks have run")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Take the relation away."""
        session.call("remove_relation", model=session.model(args.model), a=args.first, b=args.second)


class Trust(Command):
    """`trust`."""

    notes = "A charm sees it by credential-get alone, and there are no cloud credentials that it could get here."
    examples = ("trust store", "trust store --remove")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("--remove", action="store_true", help="trust it no more")
        add_ignored(parser, {"--scope": "SCOPE"}, why="it is for Kubernetes models")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Note it; there are no cloud credentials that a trusted charm could be given."""
        session.call("trust", model=session.model(args.model), app=args.application, trust=not args.remove)


class Resolved(Command):
    """`resolved`, also called `resolve`."""

    notes = "A failed hook is tried again by itself, too, after a while that grows; this is for now."
    examples = ("resolved store/0", "resolved --all", "resolved store/0 --no-retry")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("units", nargs="*", metavar="UNIT")
        parser.add_argument("--no-retry", action="store_true", help="go on with the next hook instead")
        parser.add_argument("--all", action="store_true", help="every unit that is in error")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Let each unit run its failed hook again, or skip it."""
        model = session.model(args.model)
        units: list[str] = args.units
        if args.all:
            units = units_in_error(session.call("status", model=model))
        elif not units:
            raise UsageError("name a unit, or give --all")
        for unit in units:
            session.call("resolved", model=model, unit=unit, no_retry=args.no_retry)
