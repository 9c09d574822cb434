"""tabletop's own words: preparing this machine, and leaving it as it was."""

import argparse
import os
import subprocess

from tabletop.client import root_needed
from tabletop.codehash import code_hash
from tabletop.commands import Command
from tabletop.commands.images import tell_pruned
from tabletop.commands.options import add_ignored, listed
from tabletop.commands.prompt import add_no_prompt, agreed
from tabletop.emulation import ARCHITECTURES
from tabletop.errors import TabletopError
from tabletop.format import note, out, result
from tabletop.hostcheck import check_rights
from tabletop.locks import locked
from tabletop.session import CONTROLLER, Session
from tabletop.stopping import stop_daemon

_STOP_TIMEOUT_S = 30.0
_WHY = {
    "systemd-container": "runs the machines (systemd-nspawn)",
    "mmdebstrap": "builds the image they are made from",
    "nftables": "lets them reach the network",
    "iproute2": "connects them",
    "qemu-user-static": "runs programs of other architectures",
    "arch-test": "tells which architectures run here",
}


class Bootstrap(Command):
    """`bootstrap`."""

    notes = """\
What is there already is left alone, so it may be given again. Juju's form, `bootstrap CLOUD CONTROLLER`, is taken for
the sake of its clients: the cloud is this machine, whatever it is called, and the controller's name is tabletop."""
    examples = ("bootstrap", "bootstrap --include postgresql,git", "bootstrap localhost tabletop")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("cloud", nargs="?", help="accepted from clients of Juju: this machine is the only cloud")
        parser.add_argument("controller", nargs="?", default=CONTROLLER, help=f"must be {CONTROLLER!r}")
        parser.add_argument(
            "--include", action="append", default=None, metavar="PACKAGE", help="put a package into the base image"
        )
        parser.add_argument(
            "--arch",
            action="append",
            default=[],
            choices=ARCHITECTURES,
            help="prepare for machines of another architecture too, which are emulated",
        )
        parser.add_argument("--no-switch", action="store_true", help="accepted: no model is switched to anyway")
        add_ignored(parser, {"--force": None}, why="there is nothing to force")
        add_ignored(
            parser,
            {
                "--bootstrap-base": "BASE",
                "--bootstrap-constraints": "KEY=VALUE",
                "--config": "KEY=VALUE",
                "--constraints": "KEY=VALUE",
                "--credential": "NAME",
                "--metadata-source": "PATH",
                "--model-default": "KEY=VALUE",
                "--storage-pool": "KEY=VALUE",
                "--to": "PLACE",
            },
            why="no machine is made for a controller",
        )

    def run(self, session: Session, args: argparse.Namespace) -> None:
        """Install what is missing, build the base image, start the daemon; what is there already is left alone."""
        if args.controller != CONTROLLER:
            raise TabletopError(
                f"there is one controller here, and it is called {CONTROLLER!r}, not {args.controller!r}"
            )
        if os.geteuid() != 0:
            raise root_needed()
        with locked(session.paths.coming_and_going, _tell_waiting):
            changed = self._prepare(session, args)
        # A daemon reads at its start which image machines are made from.
        restarted = changed and stop(session)
        started = session.client.start()
        note("daemon restarted" if restarted else "daemon started" if started else "daemon runs already")

    def _prepare(self, session: Session, args: argparse.Namespace) -> bool:
        """Make the host ready and build the images; return whether machines are made from another one now."""
        from tabletop import emulation
        from tabletop.host import PACKAGES, firewall_advice, missing_packages, preflight
        from tabletop.image import ensure_image
        from tabletop.image_store import register
        from tabletop.settings import image_packages, remember_image_packages

        foreign = [arch for arch in dict.fromkeys(args.arch) if emulation.is_emulated(arch)]
        missing = missing_packages([*PACKAGES, *(emulation.PACKAGES if foreign else ())])
        if missing:
            _install(missing)
        preflight(session.paths)
        before = image_packages(session.paths)
        if args.include is not None:
            remember_image_packages(session.paths, sorted(set(listed(args.include))))
        include = image_packages(session.paths)
        image = ensure_image(session.paths, include=include, progress=note)
        note(f"base image {image.name}" + (f" with {', '.join(include)}" if include else ""))
        for arch in foreign:
            emulation.ensure_emulation(arch, note)
            note(f"base image {ensure_image(session.paths, architecture=arch, progress=note).name}")
        register(session.paths)
        tell_pruned(session)
        advice = firewall_advice(session.paths)
        if advice:
            note(f"WARNING {advice}")
        return include != before


class Destroy(Command):
    """`destroy`, also called `kill`."""

    notes = "The cache of images and packages stays. It works without a daemon, and after a crash."
    examples = ("destroy", "destroy --no-prompt")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_no_prompt(parser, "-y", "--yes")

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Remove all of it, whether the daemon answers or not, and say what was removed."""
        if os.geteuid() != 0:
            raise root_needed()
        check_rights()
        warning = f"This removes all models of {session.paths.state}: machines, what is on them, their network."
        if not agreed(args, warning):
            return 1
        lock = session.paths.coming_and_going
        with locked(lock, _tell_waiting):
            removed = self._remove(session)
            if removed:
                tell_pruned(session)
            lock.unlink()
        for line in removed:
            note(f"removed {line}")
        note(f"nothing is left; the cache stays in {session.paths.cache}" if removed else "there was nothing to remove")
        return None

    def _remove(self, session: Session) -> list[str]:
        from tabletop.host import teardown
        from tabletop.mounts import remove_tree

        removed = ["the daemon"] if stop(session) else []
        removed += teardown(session.paths)
        for folder in (session.paths.state, session.paths.run):
            if folder.exists():
                remove_tree(folder)
                removed.append(str(folder))
        return removed


class Daemon(Command):
    """`daemon`."""

    notes = "Every command starts it when it doesn't run. Machines run on without it."
    examples = ("daemon", "daemon stop", "daemon start")

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("action", choices=["status", "start", "stop"], nargs="?", default="status")

    def run(self, session: Session, args: argparse.Namespace) -> int | None:
        """Start or stop it, or say how it is; exit status 1 if it doesn't run."""
        if args.action == "start":
            note("daemon started" if session.client.start() else "daemon runs already")
            return None
        if args.action == "stop":
            note("daemon stopped; machines run on" if stop(session) else "no daemon runs")
            return None
        if not session.client.running():
            out("no daemon runs")
            return 1
        answer = session.client.request("ping")
        answer["code"] = "as on disk" if answer.get("code") == code_hash() else "older than on disk"
        paths = session.paths
        places = {"state": str(paths.state), "cache": str(paths.cache), "run": str(paths.run)}
        result({**answer, **places, "log": str(session.client.log_path)}, "yaml")
        return None


def stop(session: Session) -> bool:
    """Stop the daemon, by force if it doesn't answer; return whether there was one."""
    return stop_daemon(session.client, note, _STOP_TIMEOUT_S)


def _tell_waiting() -> None:
    note("waiting for another bootstrap or destroy, or a start of the daemon, to end")


def _install(packages: list[str]) -> None:
    note("installing with apt-get:")
    for name in packages:
        note(f"  {name}: {_WHY.get(name, 'is needed')}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-3:]
            raise TabletopError(f"apt-get {words[0]} failed: {' / '.join(said)}")
