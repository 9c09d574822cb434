"""Checking bundles and charms before anybody deploys them."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from tabletop.bundles import find_bundle
from tabletop.charmfile import CharmError, CharmFile
from tabletop.commands import Command, UsageError
from tabletop.commands.options import add_format
from tabletop.errors import TabletopError
from tabletop.format import counted, note, out, result
from tabletop.lint import Finding, Findings, lint_bundle, lint_charm
from tabletop.session import Session

_MARKS = ("bundle.yaml", "charmcraft.yaml", "metadata.yaml")


class Lint(Command):
    """`lint`."""

    notes = """\
A bundle is checked against the metadata of its charms: unknown charms, options, endpoints and resources, values of the
wrong type, interfaces that don't fit, placements on machines that aren't there, constraints that aren't any, machines
that nothing uses, resources and numbers of units that aren't given. What a build makes needs not be there: a packed
charm that is missing is read from its folder, if that is among those given. Of a bundle's folder every file of
overlays/ is checked, too, each laid over the bundle by itself; --overlay lays files over it together.
A charm is checked by itself: keys of charmcraft.yaml that charmcraft doesn't know, options without a type, a default or
a description, actions and parameters without a description, endpoints without an interface, what it assumes, and that
it has an icon and a README.
It needs neither root nor a daemon. The exit status is 1 if there are errors; warnings alone leave it at 0, unless
--strict is given."""
    examples = (
        "lint bundles charms",
        "lint ./bundle.yaml --overlay ./three-workers.yaml --format json",
        "lint --strict charms/store",
    )

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "paths", nargs="+", type=Path, metavar="BUNDLE | CHARM", help="a file, its folder, or a folder of several"
        )
        parser.add_argument("--overlay", action="append", default=[], type=Path, help="file to lay over each bundle")
        parser.add_argument("--strict", action="store_true", help="count warnings as errors")
        add_format(parser, "plain", "json")

    def run(self, session: Session, args: argparse.Namespace) -> int:
        """Check each, and list what was found."""
        del session
        bundles, charms = _sorted_out(args.paths)
        if args.overlay and not bundles:
            raise UsageError("--overlay is for bundles, of which none is given")
        findings = Findings()
        by_name = _by_name(charms)
        for bundle, folder in bundles:
            lint_bundle(bundle, args.overlay, by_name, findings)
            if folder is not None and not args.overlay:
                for overlay in sorted((folder / "overlays").glob("*.y*ml")):
                    lint_bundle(bundle, [overlay], by_name, findings)
        for charm in charms:
            lint_charm(charm, findings)
        if args.format == "json":
            result({"errors": _as_json(findings.errors), "warnings": _as_json(findings.warnings)}, "json")
        else:
            for finding in findings.errors:
                out(str(finding))
            for finding in findings.warnings:
                out(f"{finding.place}: warning: {finding.message}")
        errors, warnings = len(findings.errors), len(findings.warnings)
        note(
            f"{counted(len(bundles), 'bundle')}, {counted(len(charms), 'charm')}: "
            f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
        )
        return 1 if errors or (args.strict and warnings) else 0


def _each(paths: Iterable[Path]) -> Iterator[Path]:
    """Give the bundles and charms of the paths: themselves, or those in a folder of several."""
    for path in paths:
        if not path.exists():
            raise TabletopError(f"{path}: no such file or folder")
        within = sorted(inner for inner in path.iterdir() if _is_one(inner)) if path.is_dir() else []
        if within and not _is_one(path):
            yield from within
        else:
            yield path


def _is_one(path: Path) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in _MARKS)


def _sorted_out(paths: Iterable[Path]) -> tuple[list[tuple[Path, Path | None]], list[Path]]:
    """Tell bundles (with their folder, if that was given) and charms apart."""
    bundles: list[tuple[Path, Path | None]] = []
    charms: list[Path] = []
    for path in _each(paths):
        bundle = find_bundle(path)
        if bundle is not None:
            bundles.append((bundle, path if path.is_dir() else None))
        elif path.is_dir() or path.suffix == ".charm":
            charms.append(path)
        else:
            raise TabletopError(f"{path}: is neither a bundle (.yaml) nor a charm (.charm, or its folder)")
    return bundles, charms


def _by_name(charms: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in charms:
        try:
            found[CharmFile.open(path).name] = path
        except CharmError:
            # What is wrong with it is told where it is checked.
            found[path.name.removesuffix(".charm")] = path
    return found


def _as_json(findings: Iterable[Finding]) -> list[dict[str, object]]:
    return [{"file": one.file, "line": one.line, "message": one.message} for one in findings]
