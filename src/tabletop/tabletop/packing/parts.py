"""What goes into a charm: its parts of charmcraft's python and dump plugins, the requirements, the workspace."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tabletop.charmfile import CharmFile
from tabletop.packing import dump
from tabletop.packing.dump import Dumped, dumped
from tabletop.packing.errors import PackError
from tabletop.packing.package import Package, check_dependencies, package
from tabletop.yamlfile import YamlFile

_LAYOUT_KEYS = ("plugin", "source", "source-subdir", "build-packages", "build-snaps", "build-environment", "after")
_OWN_KEYS = {"python": ("python-requirements", "python-packages"), "dump": dump.KEYS}


@dataclass(frozen=True, slots=True)
class Contents:
    """What one charm is packed from, beside its own folder."""

    requirements: tuple[Path, ...]
    packages: tuple[Package, ...]
    """They go into the virtual environment."""
    dumped: tuple[Dumped, ...]


def contents(charm: CharmFile) -> Contents:
    """Read the charm's parts: one of the python plugin, any number of the dump plugin.

    Paths are relative to the charm's folder, as they are for charmcraft with `source: ../..` and `source-subdir`.

    Raises:
        PackError: there is no such part, one has a key that this packer doesn't know, or a file is missing.
    """
    file = YamlFile.load(charm.path / "charmcraft.yaml")
    name = _python_part(charm, file)
    requirements = tuple(_paths(charm, file, name, "python-requirements"))
    for number, path in enumerate(requirements):
        if not path.is_file():
            where = file.where("parts", name, "python-requirements", number)
            raise PackError(f"{where}: no such file: {path}")
    packages = tuple(
        package(path, file.where("parts", name, "python-packages", number))
        for number, path in enumerate(_paths(charm, file, name, "python-packages"))
    )
    others = tuple(found for part in charm.parts if part != name for found in dumped(charm, file, part))
    where = file.where("parts", name, "python-packages")
    check_dependencies(requirements, [*((found, where) for found in packages), *_dumped_packages(others)])
    return Contents(requirements, packages, others)


def _python_part(charm: CharmFile, file: YamlFile) -> str:
    """Return the name of the one part of the python plugin, having seen that this packer knows all parts."""
    plugins = {name: _plugin(part) for name, part in charm.parts.items()}
    unknown = [name for name, plugin in plugins.items() if plugin not in _OWN_KEYS]
    parts = [name for name, plugin in plugins.items() if plugin == "python"]
    if unknown or len(parts) != 1:
        where = file.where("parts", *unknown[:1])
        raise PackError(
            f"{where}: parts: one part of the plugin 'python', and beside it parts of the plugin 'dump', is what this "
            "packer does"
        )
    for name, part in charm.parts.items():
        for key in cast("dict[str, Any]", part):
            if key not in (*_LAYOUT_KEYS, *_OWN_KEYS[plugins[name]]):
                where = file.where("parts", name, key)
                raise PackError(f"{where}: parts.{name}.{key}: this packer doesn't know the key")
    return parts[0]


def _dumped_packages(others: Iterable[Dumped]) -> Iterator[tuple[Package, str]]:
    """Return the packages of the workspace among what is dumped."""
    for found in others:
        if (found.source / "__init__.py").is_file() and (found.source.parent / "pyproject.toml").is_file():
            yield package(found.source.parent, found.where), found.where


def _plugin(part: object) -> str:
    return str(cast("dict[str, Any]", part).get("plugin")) if isinstance(part, dict) else ""


def _paths(charm: CharmFile, file: YamlFile, part: str, key: str) -> Iterable[Path]:
    listed: object = charm.parts[part].get(key) or []
    if not isinstance(listed, list):
        raise PackError(f"{file.where('parts', part, key)}: parts.{part}.{key}: must be a list")
    for number, text in enumerate(cast("list[object]", listed)):
        if not isinstance(text, str):
            raise PackError(f"{file.where('parts', part, key, number)}: parts.{part}.{key}: must be paths")
        yield (charm.path / text).resolve()
