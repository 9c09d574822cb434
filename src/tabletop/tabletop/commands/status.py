"""What there is, and how it is."""

import argparse
import time
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_model, duration
from tabletop.errors import TabletopError
from tabletop.format import out, result, table
from tabletop.session import Session
from tabletop.status import naturally, section, tabular


class Status(Command):
    """`status`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("filter", nargs="*", help="applications or units to show (default: all)")
        parser.add_argument("--relations", "--integrations", action="store_true", help="show the relations too")
        parser.add_argument("--storage", action="store_true", help="accepted: JSON and YAML show storage anyway")
        parser.add_argument("--color", "--no-color", action="store_true", help="accepted: there are no colours")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        parser.add_argument("--watch", type=duration, metavar="DURATION", help="show it again and again")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it, once or repeatedly."""
        model = session.model(args.model)
        while True:
            status: dict[str, Any] = session.call("status", model=model)
            if args.filter:
                status = _only(status, args.filter)
            if args.format == "tabular":
                out(tabular(status, relations=args.relations))
            else:
                result(status, args.format)
            if not args.watch:
                return
            time.sleep(args.watch)
            out("")


class ShowUnit(Command):
    """`show-unit`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("units", nargs="+", metavar="UNIT")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show each unit."""
        model = session.model(args.model)
        shown: dict[str, Any] = {}
        for unit in args.units:
            info = session.call("show_unit", model=model, unit=unit)
            shown.update(info if set(info) == {unit} else {unit: info})
        result(shown, args.format)


class ShowApplication(Command):
    """`show-application`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("applications", nargs="+", metavar="APPLICATION")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show each application, of what its status tells."""
        status = session.call("status", model=session.model(args.model))
        shown: dict[str, Any] = {}
        for name in args.applications:
            app = status["applications"].get(name)
            if app is None:
                raise TabletopError(f'application "{name}" not found')
            shown[name] = {
                "charm": app["charm-name"],
                "base": "@".join(section(app, "base").values()),
                "principal": not app.get("subordinate-to"),
                "exposed": app["exposed"],
                "life": app.get("life") or "alive",
                "endpoint-bindings": app.get("endpoint-bindings") or {},
            }
        result(shown, args.format)


class Addresses(Command):
    """`addresses`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List the units with their addresses and open ports."""
        status = session.call("status", model=session.model(args.model))
        units: dict[str, Any] = {}
        for app in section(status, "applications").values():
            units.update(section(app, "units"))
        if args.format != "tabular":
            found: dict[str, Any] = {
                unit: {"address": units[unit].get("public-address", ""), "ports": units[unit].get("open-ports") or []}
                for unit in naturally(units)
            }
            result(found, args.format)
            return
        rows = [
            (unit, units[unit].get("public-address", ""), ",".join(units[unit].get("open-ports") or []))
            for unit in naturally(units)
        ]
        for line in table(("Unit", "Address", "Ports"), rows):
            out(line)


def _only(status: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Keep the applications and units named, and the machines they are on."""
    kept: dict[str, Any] = {}
    machines: set[str] = set()
    for name, app in section(status, "applications").items():
        units = {unit: body for unit, body in section(app, "units").items() if name in names or unit in names}
        if units or name in names:
            kept[name] = {**app, "units": units}
            machines.update(str(unit.get("machine")) for unit in units.values())
    if not kept:
        raise TabletopError(f"nothing matches {', '.join(names)}")
    return {
        **status,
        "applications": kept,
        "machines": {number: body for number, body in section(status, "machines").items() if number in machines},
    }
