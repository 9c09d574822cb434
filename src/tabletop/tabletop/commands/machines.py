"""Machines: they come with units and go with their last one, or are added and removed by themselves."""

import argparse
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.options import CONTAINERS, add_format, add_ignored, add_model, constraints
from tabletop.commands.prompt import add_no_prompt, agreed
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, table
from tabletop.session import Session
from tabletop.status import machine_rows, section


class AddMachine(Command):
    """`add-machine`."""

    notes = """\
A machine without a unit waits for one: `deploy --to N` or `add-unit --to N` puts one onto it. It goes with its last
unit, as Juju's do, or with remove-machine. Computers elsewhere (ssh:user@host) can't be taken in."""
    examples = ("add-machine", "add-machine -n 2 --constraints mem=2G", "add-machine --constraints arch=arm64")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("target", nargs="?", help="lxd[:N] gives a machine of its own; ssh:... is refused")
        parser.add_argument("-n", "--num-machines", type=int, default=1, help="how many (default 1)")
        parser.add_argument("--constraints", action="append", default=[], metavar="KEY=VALUE", help="what it needs")
        add_ignored(
            parser, {"--base": "BASE", "--series": "SERIES"}, why="machines run this machine's own distribution"
        )
        add_ignored(parser, {"--disks": "DISKS"}, why="a machine's disk is this machine's own")
        add_ignored(parser, {"--private-key": "FILE", "--public-key": "FILE"}, why="machines are entered without keys")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Add them, and say their numbers."""
        target: str = args.target or ""
        if target.partition(":")[0] in CONTAINERS:
            note(f"NOTICE {target}: machines are containers already, so this is a machine of its own")
        elif target:
            raise TabletopError(f"can't add {target}: machines are made on this machine, others can't be taken in")
        if args.num_machines < 1:
            raise UsageError(f"--num-machines must be a positive integer, got {args.num_machines}")
        added = session.call(
            "add_machine",
            model=session.model(args.model),
            num_machines=args.num_machines,
            constraints=constraints(args.constraints),
        )
        for number in added["machines"]:
            note(f"created machine {number}")


class RemoveMachine(Command):
    """`remove-machine`."""

    notes = "A machine with units on it is only removed with --force; the units don't run their last hooks then."
    examples = ("remove-machine 3", "remove-machine 3 4 --force --no-prompt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machines", nargs="+", metavar="NUMBER")
        parser.add_argument("--force", action="store_true", help="with the units on it")
        add_no_prompt(parser)
        add_ignored(parser, {"--keep-instance": None}, why="a machine is nothing but its instance")
        add_ignored(parser, {"--no-wait": None}, why="nothing is waited for")

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Remove them, one after another."""
        model = session.model(args.model)
        listed = ", ".join(args.machines)
        if args.force and not agreed(args, f"This removes machine(s) {listed} with what they run."):
            return 1
        for number in args.machines:
            session.call("remove_machine", model=model, machine=number, force=args.force)
            note(f"will remove machine {number}")
        return None


class ListMachines(Command):
    """`machines`."""

    notes = "The list is the one that `tabletop status` ends with."
    examples = ("machines", "machines --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("--color", "--utc", action="store_true", help="accepted: no colours; times are UTC")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List them."""
        name = session.model(args.model)
        status: dict[str, Any] = session.call("status", model=name)
        machines = section(status, "machines")
        if args.format != "tabular":
            result({"model": name, "machines": machines}, args.format)
            return
        header, rows = machine_rows(status)
        for line in table(header, rows):
            out(line)


class ShowMachine(Command):
    """`show-machine`."""

    notes = (
        "It shows what `tabletop status --format yaml` has of the machines: addresses, state, hardware, constraints."
    )
    examples = ("show-machine 0", "show-machine 0 1 --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("machines", nargs="*", metavar="NUMBER", help="default: all")
        parser.add_argument("--color", "--utc", action="store_true", help="accepted: no colours; times are UTC")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show each."""
        name = session.model(args.model)
        there = section(session.call("status", model=name), "machines")
        for number in args.machines:
            if number not in there:
                raise TabletopError(f"machine {number} not found")
        result({"model": name, "machines": {key: there[key] for key in args.machines or there}}, args.format)
