"""What actions an application has."""

import argparse
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_model
from tabletop.errors import TabletopError
from tabletop.format import out, result, table
from tabletop.session import Session


class Actions(Command):
    """`actions`."""

    examples = ("actions store", "actions store --schema", "actions store --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("--schema", action="store_true", help="their parameters too")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List the application's actions with their descriptions."""
        found: dict[str, Any] = session.call("actions", model=session.model(args.model), app=args.application)
        if args.format == "tabular" and not args.schema:
            rows = [(name, _first(body)) for name, body in sorted(found.items())]
            for line in table(("Action", "Description"), rows):
                out(line)
            return
        value = found if args.schema else {name: _first(body) for name, body in sorted(found.items())}
        result(value, "json" if args.format == "json" else "yaml")


class ShowAction(Command):
    """`show-action`."""

    examples = ("show-action store smoke-test", "show-action store smoke-test --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("action")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show its description and its parameters."""
        found: dict[str, Any] = session.call("actions", model=session.model(args.model), app=args.application)
        action = found.get(args.action)
        if action is None:
            known = ", ".join(sorted(found)) or "none"
            raise TabletopError(f"unknown action {args.action!r}: {args.application} has {known}")
        if args.format != "tabular":
            result(action, args.format)
            return
        out(str(action.get("description", "")).strip() + "\n\nArguments")
        result(action.get("properties") or {}, "yaml")


def _first(action: Mapping[str, Any]) -> str:
    return str(action.get("description") or "").split("\n")[0]
