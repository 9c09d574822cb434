"""Faults on purpose, for tests of what a charm makes of them."""

import argparse

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_model, duration
from tabletop.format import note
from tabletop.session import Session


class KillMachine(Command):
    """`kill-machine`."""

    notes = """\
All that the machine runs ends at once, as in a power cut. It comes back by itself: at once, after --for, or, with
--stay-down, at `start-machine`. Its units get their start event then; its disk, storage and address stay."""
    examples = ("kill-machine store/0", "kill-machine 0 --for 30s", "kill-machine 0 --stay-down")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machine", metavar="MACHINE | UNIT")
        parser.add_argument("--for", dest="seconds", type=duration, metavar="DURATION", help="stay down so long")
        parser.add_argument("--stay-down", action="store_true", help="stay down until it is started")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Kill it."""
        if args.seconds is not None and args.stay_down:
            raise UsageError("--for and --stay-down exclude each other")
        model = session.model(args.model)
        done = session.call("kill_machine", model=model, target=args.machine, seconds=args.seconds, stay=args.stay_down)
        until = (
            "until 'tabletop start-machine'" if args.stay_down else f"for {args.seconds:g} s" if args.seconds else ""
        )
        note(f"killed machine {done['machine']}" + (f"; it is down {until}" if until else "; it comes back"))


class StartMachine(Command):
    """`start-machine`."""

    notes = "It starts machines that `kill-machine` left off, and no others: those that die otherwise come back anyway."
    examples = ("start-machine 0", "start-machine store/0")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machine", metavar="MACHINE | UNIT")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Start it."""
        done = session.call("start_machine", model=session.model(args.model), target=args.machine)
        note(f"starting machine {done['machine']}")


class CutNetwork(Command):
    """`cut-network`."""

    notes = """\
What is sent either way is lost without a word, so connections hang as they do when a cable is cut far away; machines
and what runs on them go on. With a second machine the two are cut off from each other alone; with --outside a machine
still reaches the others and this host's end of their network. --for heals by itself, even if tabletop has died.
`tabletop ssh` and hooks don't use the network, so they work on. What is cut shows among the machines of `status`."""
    examples = ("cut-network store/0", "cut-network store/0 front/0 --for 30s", "cut-network 0 --outside")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machine", metavar="MACHINE | UNIT")
        parser.add_argument("other", nargs="?", metavar="MACHINE | UNIT", help="from this one alone")
        parser.add_argument("--outside", action="store_true", help="from what is neither a machine nor this host")
        parser.add_argument("--for", dest="seconds", type=duration, metavar="DURATION", help="heal after so long")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Cut it."""
        if args.other and args.outside:
            raise UsageError("--outside and a second machine exclude each other")
        done = session.call(
            "cut_network",
            model=session.model(args.model),
            target=args.machine,
            other=args.other,
            seconds=args.seconds,
            outside=args.outside,
        )
        note(done + (f", for {args.seconds:g} s" if args.seconds else ""))


class HealNetwork(Command):
    """`heal-network`."""

    notes = "Without a machine all cuts of the model are undone; with two, the cut between them."
    examples = ("heal-network", "heal-network store/0", "heal-network store/0 front/0", "heal-network 0 --outside")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machine", nargs="?", metavar="MACHINE | UNIT")
        parser.add_argument("other", nargs="?", metavar="MACHINE | UNIT")
        parser.add_argument("--outside", action="store_true", help="undo a cut from the outside world alone")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Heal it."""
        count = session.call(
            "heal_network",
            model=session.model(args.model),
            target=args.machine,
            other=args.other,
            outside=args.outside,
        )
        note("nothing was cut" if not count else "healed one cut" if count == 1 else f"healed {count} cuts")
