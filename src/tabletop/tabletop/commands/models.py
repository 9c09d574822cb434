"""Models: several may run side by side, each with its own applications and machines."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from tabletop.commands import Command
from tabletop.commands.options import add_format, add_ignored, pair
from tabletop.commands.prompt import add_no_prompt, agreed
from tabletop.errors import TabletopError
from tabletop.format import note, out, result, table
from tabletop.session import CONTROLLER, USER, Session, short_model
from tabletop.status import section
from tabletop.version import JUJU_VERSION

CLOUD = "localhost"
_UNREADABLE: Mapping[str, Any] = {
    "model": {"model-status": {"current": "error", "message": "its state can't be read; every other word says why"}}
}


class AddModel(Command):
    """`add-model`."""

    notes = "Models are independent of each other: each has its own machines. The only controller is called tabletop."
    examples = ("add-model trial", "add-model trial --no-switch --config update-status-hook-interval=1m")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", help="lower-case letters, digits and hyphens")
        parser.add_argument("cloud", nargs="?", help="no effect: this machine is the only cloud")
        parser.add_argument("--no-switch", action="store_true", help="leave the current model as it is")
        parser.add_argument("-c", "--controller", help=f"must be {CONTROLLER!r}")
        parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="configuration")
        add_ignored(parser, {"--credential": "NAME", "--owner": "USER"}, why="there are no clouds or users here")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Add it, and make it the current one unless told not to."""
        name = short_model(f"{args.controller}:{args.name}" if args.controller else args.name)
        session.call("add_model", name=name)
        if args.config:
            session.call("model_config", model=name, values=dict(pair(text) for text in args.config))
        if not args.no_switch:
            session.switch(name)
        note(f"Added '{name}' model on {CLOUD} for user '{USER}'")


class DestroyModel(Command):
    """`destroy-model`."""

    notes = "Machines are removed at once: units don't run their last hooks, as if Juju were given --force --no-wait."
    examples = ("destroy-model trial", "destroy-model trial --no-prompt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", metavar="MODEL")
        add_no_prompt(parser, "-y", "--yes")
        parser.add_argument("--force", action="store_true", help="don't let units run their last hooks")
        add_ignored(
            parser,
            {
                "--destroy-storage": None,
                "--release-storage": None,
                "--no-wait": None,
                "--timeout": "DURATION",
                "-t": "D",
            },
            why="a model goes with all it has, at once",
        )

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Remove it with its machines."""
        name = short_model(args.name)
        if not agreed(args, f"This removes model '{name}' with its machines and what is on them."):
            return 1
        session.call("destroy_model", name=name)
        if session.current_model() == name:
            session.switch(None)
        note(f"Model '{name}' destroyed")
        return None


class Models(Command):
    """`models`."""

    examples = ("models", "models --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_format(parser, "tabular", "json", "yaml")
        parser.add_argument("-c", "--controller", default=CONTROLLER, help=f"must be {CONTROLLER!r}")
        parser.add_argument("--all", "--uuid", "--utc", action="store_true", help="accepted: all are shown anyway")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """List them."""
        short_model(f"{args.controller}:")
        found = [model_info(session, name, uuid) for name, uuid in uuids(session).items()]
        current = session.current_model()
        if args.format != "tabular":
            result({"models": found, "current-model": current}, args.format)
            return
        out(f"Controller: {CONTROLLER} (this is tabletop, not Juju)\n")
        rows = [
            (model["short-name"] + ("*" if model["short-name"] == current else ""), CLOUD, model["status"]["current"])
            for model in found
        ]
        for line in table(("Model", "Cloud", "Status"), rows):
            out(line)


class ShowModel(Command):
    """`show-model`."""

    notes = "Several models may be named; a name may be written as Juju does, tabletop:admin/NAME."
    examples = ("show-model", "show-model trial other --format json")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("names", nargs="*", metavar="MODEL", help="default: the current one")
        parser.add_argument("-m", "--model", help="the same as naming it")
        add_format(parser, "yaml", "json")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Show it."""
        names = [session.model(name) for name in args.names or [args.model]]
        known = uuids(session)
        for name in names:
            if name not in known:
                raise TabletopError(f"model {CONTROLLER}:{USER}/{name} not found")
        shown: dict[str, Any] = {}
        for name in names:
            secrets: dict[str, Any] = session.call("secrets", model=name)
            backends = {"internal": {"num-secrets": len(secrets), "status": "active"}}
            shown[name] = {**model_info(session, name, known[name]), "secret-backends": backends}
        result(shown, args.format)


class Switch(Command):
    """`switch`."""

    notes = "$JUJU_MODEL and -m come before it."
    examples = ("switch", "switch trial", "switch tabletop:admin/trial")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name", nargs="?", metavar="MODEL", help="without one, the current one is named")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Make a model the current one; without one, say which is."""
        current = session.current_model()
        if args.name is None:
            if current is None:
                raise TabletopError("no model is current; 'tabletop models' lists those there are")
            out(f"{CONTROLLER}:{USER}/{current}")
            return
        name = short_model(args.name)
        if name not in uuids(session):
            raise TabletopError(f"model {CONTROLLER}:{USER}/{name} not found")
        session.switch(name)
        note(f"{CONTROLLER}:{USER}/{current or ''} -> {CONTROLLER}:{USER}/{name}")


def uuids(session: Session) -> dict[str, str]:
    """Return the UUID of each model there is, by its name."""
    found: list[dict[str, str]] = session.call("models")
    return {model["name"]: model["uuid"] for model in found}


def model_info(session: Session, name: str, uuid: str) -> dict[str, Any]:
    """Describe a model as `juju show-model` does; one whose state can't be read, which has no UUID, by its name."""
    status = session.call("status", model=name) if uuid else _UNREADABLE
    return {
        "name": f"{USER}/{name}",
        "short-name": name,
        "model-uuid": uuid,
        "model-type": "iaas",
        # There is no controller, and so none that could be told from another.
        "controller-uuid": "00000000-0000-0000-0000-000000000000",
        "controller-name": CONTROLLER,
        "is-controller": False,
        "owner": USER,
        "cloud": CLOUD,
        "region": CLOUD,
        "type": "lxd",
        "life": "alive",
        "status": section(section(status, "model"), "model-status") or {"current": "available"},
        "users": {USER: {"display-name": USER, "access": "admin", "last-connection": "just now"}},
        "machines": {machine: {"cores": os.cpu_count() or 1} for machine in section(status, "machines")},
        "agent-version": JUJU_VERSION,
    }
