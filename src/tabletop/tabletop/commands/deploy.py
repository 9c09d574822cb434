"""Deploying charms and bundles."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tabletop.charmfile import CharmFile
from tabletop.commands import Command, UsageError
from tabletop.commands.options import (
    add_ignored,
    add_model,
    app_settings,
    constraints,
    listed,
    placements,
    resources,
    storage_directives,
)
from tabletop.emulation import check_architecture, is_emulated
from tabletop.errors import TabletopError
from tabletop.format import note
from tabletop.reasons import NO_SPACES, NO_STORE, ONLY_SPACE
from tabletop.session import Session

_OF_A_CHARM = ("config", "resource", "to", "constraints", "num_units", "application", "storage", "attach_storage")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE | FILE", help="options to set")
    parser.add_argument("--resource", action="append", default=[], metavar="NAME=FILE", help="a file the charm needs")
    parser.add_argument("--trust", action="store_true", help="noted; there are no cloud credentials to be trusted with")
    add_ignored(parser, {"--channel": "CHANNEL", "--revision": "NUMBER"}, why=NO_STORE)
    add_ignored(parser, {"--base": "BASE", "--series": "SERIES"}, why="machines run this machine's own distribution")
    add_ignored(parser, {"--force": None}, why="there is nothing to force")


class Deploy(Command):
    """`deploy`."""

    notes = """\
A charm comes from a file: a packed .charm, or its folder, which is packed first. A bundle is a bundle.yaml, or the
folder it is in; it is checked as a whole before anything is deployed, and given again it adds only what is missing.
A placement is a machine's number, `new`, or lxd:N, for which a machine of its own is made (it is a container)."""
    examples = (
        "deploy ./store.charm",
        "deploy ./charms/store shop -n 2 --config colour=blue --resource seed=./seed.txt",
        "deploy ./store.charm --to 0 --constraints 'mem=2G cores=2'",
        "deploy ./bundle.yaml --overlay ./three-workers.yaml --dry-run",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("charm", metavar="PATH", help="a .charm, a charm's folder, a bundle.yaml or its folder")
        parser.add_argument("application", nargs="?", help="its name (default: the charm's)")
        parser.add_argument("-n", "--num-units", type=int, default=None, help="how many units (default 1)")
        parser.add_argument("--to", action="append", default=[], metavar="MACHINE[,...]", help="where: 0, or new")
        parser.add_argument("--constraints", action="append", default=[], metavar="KEY=VALUE", help="of its machines")
        parser.add_argument("--overlay", action="append", default=[], type=Path, help="file to lay over a bundle")
        parser.add_argument("--dry-run", action="store_true", help="check a bundle, deploy nothing")
        _add_common(parser)
        parser.add_argument("--bind", default="", metavar="SPACE | ENDPOINT=SPACE...", help="alpha is the one space")
        parser.add_argument(
            "--storage", action="append", default=[], metavar="NAME=COUNT,SIZE", help="what a unit gets"
        )
        parser.add_argument(
            "--attach-storage", action="append", default=[], metavar="ID[,...]", help="for the new unit"
        )
        add_ignored(parser, {"--map-machines": "MAP"}, why="machines are found by the units on them")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Deploy it."""
        from tabletop.bundles import find_bundle

        _check_spaces(args.bind)
        path = Path(args.charm).absolute()
        if not path.exists():
            raise TabletopError(f"charm or bundle not found: {args.charm}: no such file ({NO_STORE})")
        bundle = find_bundle(path)
        if bundle is not None:
            self._bundle(session, args, bundle)
            return
        if args.overlay or args.dry_run:
            raise UsageError(f"{args.charm} isn't a bundle: --overlay and --dry-run are for bundles")
        charm = CharmFile.open(path)
        model, wanted, to = session.model(args.model), constraints(args.constraints), placements(args.to)
        _check_architectures([wanted.get("arch", "")])
        packed = packed_charm(session, path, model, constraints=wanted, to=to)
        app = args.application or charm.name
        units = 1 if args.num_units is None else args.num_units
        if units < 0 or (units == 0 and not charm.subordinate and args.to):
            raise UsageError(f"--num-units must be a positive integer, got {units}")
        if charm.subordinate and (args.num_units or args.to):
            raise UsageError("cannot use --num-units or --to with subordinate application")
        note(f'Located local charm "{charm.name}"')
        note(f'Deploying "{app}" from local charm "{charm.name}"')
        session.call(
            "deploy",
            model=model,
            charm=str(packed),
            app=app,
            num_units=0 if charm.subordinate else units,
            config=app_settings(args.config, app),
            resources=resources(args.resource),
            to=to,
            constraints=wanted,
            trust=args.trust,
            storage=storage_directives(args.storage),
            attach=listed(args.attach_storage),
        )

    def _bundle(self, session: Session, args: argparse.Namespace, path: Path) -> None:
        from tabletop.bundles import Deployment, plan

        for option in _OF_A_CHARM:
            if getattr(args, option):
                raise UsageError(f"--{option.replace('_', '-')} is for a charm; a bundle says it itself, or an overlay")
        checked = plan(path, [overlay.absolute() for overlay in args.overlay])
        for app in checked.applications:
            note(f'Located local charm "{app.charm.name}" at {app.charm.path}')
        if args.dry_run:
            note("the bundle is right; nothing was deployed")
            return
        _check_architectures(app.constraints.get("arch", "") for app in checked.applications)
        model = session.model(args.model)

        def packed(charm: Path, wanted: Mapping[str, str]) -> Path:
            return packed_charm(session, charm, model, constraints=wanted)

        deployment = Deployment(session.call, model, packed, note)
        if deployment.run(checked):
            note("Deploy of bundle completed.")
        else:
            note("Nothing to do: all that the bundle asks for is there already.")


def _check_architectures(architectures: Iterable[str]) -> None:
    for architecture in sorted(set(filter(None, architectures))):
        check_architecture(architecture)
        if is_emulated(architecture):
            note(
                f"NOTICE {architecture} machines are emulated on this host, at about a tenth of its speed; the first "
                "one waits for its base image, which takes about 4 minutes to build, once"
            )


def _check_spaces(bindings: str) -> None:
    for word in bindings.split():
        space = word.rpartition("=")[2]
        if space != ONLY_SPACE:
            raise TabletopError(f'space "{space}" not found: {NO_SPACES}')


class Refresh(Command):
    """`refresh`."""

    notes = "Units run upgrade-charm and then config-changed. Resources that aren't named stay as they are."
    examples = ("refresh store --path ./store.charm", "refresh store --resource seed=./other.txt --config colour=red")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("--path", type=Path, help="a .charm or a charm's folder")
        _add_common(parser)
        add_ignored(parser, {"--storage": "NAME=SIZE"}, why="units keep the storage they have; see add-storage")
        add_ignored(parser, {"--force-base": None, "--force-units": None}, why="there is nothing to force")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Replace the charm, the resources or both; then set what --config says."""
        model, app = session.model(args.model), args.application
        files = resources(args.resource)
        if args.path is None and not files:
            raise UsageError(f"give --path, or --resource: {NO_STORE}")
        request: dict[str, Any] = {"model": model, "app": app, "resources": files, "charm": None}
        if args.path is not None:
            request["charm"] = str(packed_charm(session, args.path.absolute(), model, app=app))
        session.call("refresh", **request, config=app_settings(args.config, app), trust=args.trust)
        note(f'Refreshed "{app}"')


class AttachResource(Command):
    """`attach-resource`."""

    examples = ("attach-resource store seed=./seed.txt",)

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_model(parser)
        parser.add_argument("application")
        parser.add_argument("resource", metavar="NAME=FILE")

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Replace the file; the charm sees it at its upgrade-charm hook, which this brings about."""
        files = resources([args.resource])
        session.call("refresh", model=session.model(args.model), app=args.application, charm=None, resources=files)


def packed_charm(session: Session, path: Path, model: str, **application: Any) -> Path:
    """Return the packed charm of a path; a folder is packed into the cache first.

    Args:
        session: this run of the command line.
        path: a packed charm, or its folder.
        model: the model.
        application: for which one it is packed, and so for which architecture: an `app` that is there, or the
            `constraints` of one to be and where its units go `to`.
    """
    if not path.exists():
        raise TabletopError(f"{path}: no such charm")
    if not path.is_dir():
        return path
    from tabletop.packing import pack

    architecture = str(session.call("architecture", None, model=model, **application))
    cache, folder = session.paths.cache, path.resolve()
    packed = pack(folder, cache / "charms" / folder.name, cache / "charm-packages", note, architecture=architecture)
    for_other = f" for {architecture}" if is_emulated(architecture) else ""
    note(f"{packed.name}: {'packed' if packed.changed else 'packed already'}{for_other}")
    return packed.path
