"""What goes into a charm: its part of charmcraft's python plugin, the requirements, the packages of the workspace."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tabletop.charmfile import CharmError, CharmFile
from tabletop.yamlfile import YamlFile, read_text

_REQUIREMENT_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)
_LAYOUT_KEYS = ("plugin", "source", "source-subdir", "build-packages", "build-snaps", "build-environment", "after")
_OWN_KEYS = ("python-requirements", "python-packages")


class PackError(CharmError):
    """A charm can't be packed; the text names the file and the key at fault."""


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


@dataclass(frozen=True, slots=True)
class Contents:
    """What one charm is packed from, beside its own folder."""

    requirements: tuple[Path, ...]
    packages: tuple[Package, ...]


def contents(charm: CharmFile) -> Contents:
    """Read the charm's part of the python plugin.

    Paths are relative to the charm's folder, as they are for charmcraft with `source: ../..` and `source-subdir`.

    Raises:
        PackError: there is no such part, it has a key that this packer doesn't know, or a file is missing.
    """
    file = YamlFile.load(charm.path / "charmcraft.yaml")
    parts = [name for name, part in charm.parts.items() if _plugin(part) == "python"]
    others = [name for name in charm.parts if name not in parts]
    if others or len(parts) != 1:
        where = file.where("parts", *others[:1])
        raise PackError(f"{where}: parts: one part of the plugin 'python' is what this packer does, and nothing else")
    name = parts[0]
    part = cast("dict[str, Any]", charm.parts[name])
    for key in part:
        if key not in (*_LAYOUT_KEYS, *_OWN_KEYS):
            raise PackError(f"{file.where('parts', name, key)}: parts.{name}.{key}: this packer doesn't know the key")
    requirements = tuple(_paths(charm, file, name, "python-requirements"))
    for number, path in enumerate(requirements):
        if not path.is_file():
            where = file.where("parts", name, "python-requirements", number)
            raise PackError(f"{where}: no such file: {path}")
    packages = tuple(
        _package(path, file.where("parts", name, "python-packages", number))
        for number, path in enumerate(_paths(charm, file, name, "python-packages"))
    )
    _check_dependencies(requirements, packages, file.where("parts", name, "python-packages"))
    return Contents(requirements, packages)


def _plugin(part: object) -> object:
    return cast("dict[str, Any]", part).get("plugin") if isinstance(part, dict) else None


def _paths(charm: CharmFile, file: YamlFile, part: str, key: str) -> Iterable[Path]:
    listed: object = charm.parts[part].get(key) or []
    if not isinstance(listed, list):
        raise PackError(f"{file.where('parts', part, key)}: parts.{part}.{key}: must be a list")
    for number, text in enumerate(cast("list[object]", listed)):
        if not isinstance(text, str):
            raise PackError(f"{file.where('parts', part, key, number)}: parts.{part}.{key}: must be paths")
        yield (charm.path / text).resolve()


def _package(path: Path, where: str) -> Package:
    declared = path / "pyproject.toml"
    if not declared.is_file():
        raise PackError(
            f"{where}: {path} has no pyproject.toml; packages of an index belong in python-requirements, pinned"
        )
    try:
        project: dict[str, Any] = tomllib.loads(read_text(declared))["project"]
        distribution, version = str(project["name"]), str(project["version"])
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise PackError(f"{declared}: needs [project] with a name and a version ({error})") from error
    source = path / distribution.replace("-", "_")
    if not (source / "__init__.py").is_file():
        raise PackError(f"{declared}: the package {source} has no __init__.py")
    return Package(distribution, version, source, tuple(map(str, project.get("dependencies", []))))


def _check_dependencies(requirements: Sequence[Path], packages: Sequence[Package], where: str) -> None:
    """See that what the packages need is packed too, as charmcraft's `pip check` does."""
    there = {_normal(package.distribution) for package in packages}
    for path in requirements:
        there.update(_normal(name) for name in _REQUIREMENT_NAME.findall(read_text(path)))
    for package in packages:
        for dependency in package.dependencies:
            match = _REQUIREMENT_NAME.match(dependency)
            if match and _normal(match[1]) not in there:
                raise PackError(f"{where}: {package.distribution} needs {match[1]}, which isn't among what is packed")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
