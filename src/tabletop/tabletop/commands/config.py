"""The configuration of an application."""

import argparse
from typing import Any

from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format, add_model, app_settings, file_settings, listed
from tabletop.errors import TabletopError
from tabletop.format import out, result
from tabletop.session import Session


class Config(Command):
    """`config`."""

    notes = "KEY=@FILE takes a file's text. Options are set together or not at all; config-changed follows."
    examples = (
        "config store",
        "config store colour",
        "config store colour=blue size=3 note=@note.txt",
        "config store --reset colour,size",
        "config store --file options.yaml",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("settings", nargs="*", metavar="KEY | KEY=VALUE", help="an option to show, or some to set")
        parser.add_argument("--reset", action="append", default=[], metavar="KEY[,...]", help="back to the default")
        parser.add_argument("--file", metavar="FILE", help="YAML file of options to set; - is standard input")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Set what is given, else show."""
        model, app = session.model(args.model), args.application
        reset = listed(args.reset)
        asked = [word for word in args.settings if "=" not in word]
        given = [word for word in args.settings if "=" in word]
        if asked and (given or reset or args.file or len(asked) > 1):
            raise UsageError("either show one option, or set some with KEY=VALUE")
        if given or reset or args.file:
            values = file_settings(args.file, app) if args.file else {}
            values.update(app_settings(given, app))
            both = sorted(set(values) & set(reset))
            if both:
                raise UsageError(f"{', '.join(both)}: both set and reset")
            session.call("set_config", model=model, app=app, values=values, reset=reset)
            return
        config: dict[str, Any] = session.call("get_config", model=model, app=app)
        if not asked:
            result(config, args.format)
            return
        setting = config["settings"].get(asked[0])
        if setting is None:
            raise TabletopError(f"key {asked[0]!r} not found in {app!r} application config or charm settings.")
        value = setting.get("value", "")
        if args.format == "json":
            result(value, "json")
        else:
            out(str(value).lower() if isinstance(value, bool) else str(value))
