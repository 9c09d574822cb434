"""The configuration and the constraints of a model."""

import argparse
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_model, constraints, listed, pair, read_yaml
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, table
from tabletop.session import Session


class ModelConfig(Command):
    """`model-config`."""

    notes = "A model has few options here; an unknown one is refused with the list of those there are."
    examples = (
        "model-config",
        "model-config update-status-hook-interval=1m",
        "model-config --reset update-status-hook-interval",
        "model-config update-status-hook-interval --format json",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("settings", nargs="*", metavar="KEY | KEY=VALUE")
        parser.add_argument("--reset", action="append", default=[], metavar="KEY[,...]", help="back to the default")
        parser.add_argument("--file", metavar="FILE", help="YAML file of options to set; - is standard input")
        add_format(parser, "tabular", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Set what is given, else show."""
        model = session.model(args.model)
        reset = listed(args.reset)
        values = dict(read_yaml(args.file)) if args.file else {}
        values.update(pair(word) for word in args.settings if "=" in word)
        if values or reset:
            session.call("model_config", model=model, values=values, reset=reset)
            return
        config: dict[str, Any] = session.call("model_config", model=model)
        for key in args.settings:
            if key not in config:
                raise TabletopError(f"key {key!r} not found in model {model!r}")
            if args.format == "tabular":
                out(str(config[key]["Value"]))
            else:
                result({key: config[key]}, args.format)
        if args.settings:
            return
        if args.format != "tabular":
            result(config, args.format)
            return
        rows = [(key, setting.get("Source", ""), setting.get("Value", "")) for key, setting in sorted(config.items())]
        for line in table(("Attribute", "From", "Value"), rows):
            out(line)


_EFFECTIVE = ("arch", "mem", "cores")


class ModelConstraints(Command):
    """`model-constraints`."""

    examples = ("model-constraints", "model-constraints --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        add_format(parser, "constraints", "json", "yaml")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show the constraints of machines whose application says nothing else."""
        found: dict[str, str] = session.call("model_constraints", model=session.model(args.model))
        if args.format == "constraints":
            out(" ".join(f"{key}={value}" for key, value in sorted(found.items())))
        else:
            result(found, args.format)


class SetModelConstraints(Command):
    """`set-model-constraints`."""

    notes = """\
They hold for machines of now on, unless their application says something else, and replace those before them. mem and
cores are the most a machine may take, arch is its architecture; others are kept and shown, and have no effect."""
    examples = ("set-model-constraints mem=2G cores=2", "set-model-constraints arch=arm64", "set-model-constraints")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("constraints", nargs="*", metavar="KEY=VALUE")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Replace them."""
        model, wanted = session.model(args.model), constraints(args.constraints)
        for key in wanted:
            if key not in _EFFECTIVE:
                note(f"NOTICE constraint {key} has no effect here")
        session.call("model_constraints", model=model, values={key: value for key, value in wanted.items() if value})
