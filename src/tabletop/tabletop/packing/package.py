"""Packages of the workspace, as their pyproject.toml declares them."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabletop.packing.errors import PackError
from tabletop.yamlfile import read_text

_REQUIREMENT_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the workspace: the folder that is imported, and what its metadata says."""

    distribution: str
    version: str
    source: Path
    dependencies: tuple[str, ...]

    @property
    def module(self) -> str:
        """The name it is imported by."""
        return self.source.name


def package(folder: Path, where: str) -> Package:
    """Read the package in a folder that has a pyproject.toml.

    Args:
        folder: of the pyproject.toml; the package itself is below it, under the name that is imported.
        where: file and line that name it, for the error's text.

    Raises:
        PackError: there is no such package, or its metadata is incomplete.
    """
    declared = folder / "pyproject.toml"
    if not declared.is_file():
        raise PackError(
            f"{where}: {folder} has no pyproject.toml; packages of an index belong in python-requirements, pinned"
        )
    try:
        project: dict[str, Any] = tomllib.loads(read_text(declared))["project"]
        distribution, version = str(project["name"]), str(project["version"])
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise PackError(f"{declared}: needs [project] with a name and a version ({error})") from error
    source = folder / distribution.replace("-", "_")
    if not (source / "__init__.py").is_file():
        raise PackError(f"{declared}: the package {source} has no __init__.py")
    return Package(distribution, version, source, tuple(map(str, project.get("dependencies", []))))


def check_dependencies(requirements: Sequence[Path], packages: Iterable[tuple[Package, str]]) -> None:
    """See that what the packages need is packed too, as charmcraft's `pip check` does.

    Args:
        requirements: the requirements files.
        packages: each package with the file and line that name it.

    Raises:
        PackError: something isn't among what is packed.
    """
    listed = list(packages)
    there = {_normal(package.distribution) for package, _ in listed}
    for path in requirements:
        there.update(_normal(name) for name in _REQUIREMENT_NAME.findall(read_text(path)))
    for package_, where in listed:
        for dependency in package_.dependencies:
            match = _REQUIREMENT_NAME.match(dependency)
            if match and _normal(match[1]) not in there:
                raise PackError(f"{where}: {package_.distribution} needs {match[1]}, which isn't among what is packed")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
