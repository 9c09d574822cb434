"""What this machine needs before the bundle can be deployed on it with tabletop, as commands to run.

Each does nothing if what it makes is there and up to date.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from chain import APPLICATIONS, ROOT

TABLETOP = ROOT / ".venv/bin/tabletop"
BUILD = ROOT / "build"
# Java is in the base image because seven of the ten machines want it: installed once instead of seven times.
IMAGE_PACKAGES = ("openjdk-17-jre-headless",)

Command = list[str | Path]


def bootstrap(tabletop: Path) -> Command:
    """Return what makes the machines' base image and starts tabletop's daemon."""
    return [tabletop, "bootstrap", *(word for package in IMAGE_PACKAGES for word in ("--include", package))]


def resources() -> Command:
    """Return what builds the charms' resources."""
    return [sys.executable, ROOT / "resources/build.py"]


def charms(tabletop: Path) -> Iterator[Command]:
    """Return what packs the charms, one command a charm."""
    for name in APPLICATIONS:
        yield [tabletop, "pack", ROOT / "charms" / name, "-o", BUILD / "charms" / f"{name}.charm"]
