"""What there is, and how it is."""

import argparse
import time
from fnmatch import fnmatchcase
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_model, duration
from tabletop.errors import TabletopError
from tabletop.format import out, result, table
from tabletop.session import Session
from tabletop.status import naturally, section, tabular


class Status(Command):
    """`status`."""

    notes = """\
The JSON and the YAML have a list `relations` that Juju's have not, and storage always. A name that is given keeps that
application or unit and the machines it is on; `*` in it stands for anything."""
    examples = ("status", "status --relations --storage", "status store front/0", "status --format json --watch 5s")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("filter", nargs="*", help="applications or units to show (default: all)")
        parser.add_argument("--relations", "--integrations", action="store_true", help="show the relations too")
        parser.add_argument("--storage", action="store_true", help="show the storage too")
        parser.add_argument("--color", "--no-color", action="store_true", help="accepted: there are no colours")
        parser.add_argument("--utc", action="store_true", help="accepted: times are UTC anyway")
        parser.add_argument("--retry-count", "--retry-delay", metavar="N", help="accepted: the first try succeeds")
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
                out(tabular(status, relations=args.relations, storage=args.storage))
            else:
                result(status, args.format)
            if not args.watch:
                return
            time.sleep(args.watch)
            out("")


class ShowUnit(Command):
    """`show-unit`."""

    examples = (
        "show-unit store/0",
        "show-unit store/0 --endpoint data --related-unit front/0",
        "show-unit store/0 --app",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("units", nargs="+", metavar="UNIT")
        parser.add_argument("--endpoint", help="only the relations of this endpoint")
        parser.add_argument("--related-unit", metavar="UNIT", help="only what this unit of the other side has set")
        parser.add_argument("--app", action="store_true", help="only what applications have set")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show each unit."""
        model = session.model(args.model)
        shown: dict[str, Any] = {}
        for unit in args.units:
            info = session.call("show_unit", model=model, unit=unit)
            for body in info.values():
                relations = [_narrowed(one, args) for one in body.get("relation-info", []) if _asked(one, args)]
                body["relation-info"] = relations
                if not relations:
                    del body["relation-info"]
            shown.update(info)
        result(shown, args.format)


def _asked(relation: dict[str, Any], args: argparse.Namespace) -> bool:
    if args.endpoint and relation["endpoint"] != args.endpoint:
        return False
    return not args.related_unit or args.related_unit in relation.get("related-units", {})


def _narrowed(relation: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    left_out = {"local-unit", "related-units"} if args.app else {"local-unit"} if args.related_unit else set[str]()
    kept = {key: value for key, value in relation.items() if key not in left_out}
    if args.related_unit and "related-units" in kept:
        kept["related-units"] = {args.related_unit: kept["related-units"][args.related_unit]}
    return kept


class ShowApplication(Command):
    """`show-application`."""

    notes = "Of its status: the charm, its base, whether it is subordinate, and where its endpoints are bound."
    examples = ("show-application store", "show-application store front --format json")

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
                "channel": app.get("charm-channel", ""),
                "principal": not app.get("subordinate-to"),
                "exposed": app["exposed"],
                "remote": False,
                "life": app.get("life") or "alive",
                "endpoint-bindings": app.get("endpoint-bindings") or {},
            }
        result(shown, args.format)


class Addresses(Command):
    """`addresses`."""

    notes = "A word of tabletop's own; with Juju, read them from `juju status`."
    examples = ("addresses", "addresses --format json")

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


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _only(status: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Keep the applications and units named, and the machines they are on."""
    kept: dict[str, Any] = {}
    machines: set[str] = set()
    for name, app in section(status, "applications").items():
        whole = _fits(name, names)
        units = {unit: body for unit, body in section(app, "units").items() if whole or _fits(unit, names)}
        if units or whole:
            kept[name] = {**app, "units": units}
            machines.update(str(unit.get("machine")) for unit in units.values())
    if not kept:
        raise TabletopError(f"nothing matches {', '.join(names)}")
    return {
        **status,
        "applications": kept,
        "machines": {number: body for number, body in section(status, "machines").items() if number in machines},
    }
