"""What a resource is made of, as its folder says."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from builder.errors import RecipeError

FORMAT = 1
"""Part of every fingerprint: raise it when the builder makes another tarball from the same recipe."""

RECIPE_FILE = "resource.toml"
CHECKSUMS = "checksums.txt"

_KEYS = {"version", "root", "archive", "maven", "python", "exclude"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The inputs of one resource."""

    name: str
    folder: Path
    version: str
    root: str
    """Name of the one top folder in the tarball."""
    archive: str
    """File name of the tarball."""
    maven: Mapping[str, str] = field(default_factory=dict[str, str])
    """POM (file name in the folder) -> directory under the root that its runtime dependencies go to."""
    python: Mapping[str, str] = field(default_factory=dict[str, str])
    """What pip installs: path in site-packages -> path under the root; the empty path is all that remains."""
    exclude: tuple[str, ...] = ()
    """Glob patterns of paths under the root that are left out."""

    @property
    def requirements(self) -> Path:
        """The pip requirements, pinned with hashes."""
        return self.folder / "requirements.txt"

    @property
    def overlay(self) -> Path:
        """Files laid over what was fetched."""
        return self.folder / "overlay"

    @property
    def checksums(self) -> Path:
        """SHA-256 of each jar: what Maven serves later must be what it served when the recipe was written."""
        return self.folder / CHECKSUMS

    def fingerprint(self) -> str:
        """Return a digest of all that the tarball depends on."""
        digest = hashlib.sha256(f"format {FORMAT}\n".encode())
        for path in sorted(self.folder.rglob("*")):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            content = path.readlink().as_posix().encode() if path.is_symlink() else path.read_bytes()
            executable = bool(path.lstat().st_mode & 0o100)
            header = f"{path.relative_to(self.folder).as_posix()}\0{path.is_symlink()}\0{executable}\0{len(content)}\n"
            digest.update(header.encode())
            digest.update(content)
        return digest.hexdigest()[:16]


def names(folder: Path) -> list[str]:
    """List the resources that have a recipe under ``folder``."""
    return sorted(path.parent.name for path in folder.glob(f"*/{RECIPE_FILE}"))


def load(folder: Path, name: str) -> Recipe:
    """Read the recipe of the resource ``name`` under ``folder``.

    Raises:
        RecipeError: there is none of that name, or it is malformed.
    """
    path = folder / name / RECIPE_FILE
    if "/" in name or not path.is_file():
        raise RecipeError(f"no resource named {name!r}; there are: {', '.join(names(folder)) or 'none'}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if unknown := content.keys() - _KEYS:
        raise RecipeError(f"{path}: unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(_KEYS))}")
    maven = _mapping(path, content, "maven")
    if not maven and (path.parent / "pom.xml").is_file():
        maven = {"pom.xml": "lib"}
    for pom in maven:
        if not (path.parent / pom).is_file():
            raise RecipeError(f"{path}: [maven] names {pom!r}, which is not there")
    recipe = Recipe(
        name=name,
        folder=path.parent,
        version=_text(path, content, "version"),
        root=_text(path, content, "root"),
        archive=_text(path, content, "archive"),
        maven=maven,
        python=_mapping(path, content, "python"),
        exclude=_texts(path, content, "exclude"),
    )
    if not recipe.maven and not recipe.requirements.is_file() and not recipe.overlay.is_dir():
        raise RecipeError(f"{path.parent}: neither a pom.xml nor a requirements.txt nor an overlay: nothing to build")
    return recipe


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value or "/" in value or value in (".", ".."):
        raise RecipeError(f"{path}: {key} must be a name without a slash, not {value!r}")
    return value


def _texts(path: Path, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("list[Any]", value)):
        raise RecipeError(f"{path}: {key} must be a list of strings")
    return tuple(cast("list[str]", value))


def _mapping(path: Path, content: Mapping[str, Any], key: str) -> dict[str, str]:
    value = content.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in cast("dict[str, Any]", value).values()):
        raise RecipeError(f"{path}: [{key}] must map paths to paths")
    for target in (mapping := cast("dict[str, str]", value)).values():
        if Path(target).is_absolute() or ".." in Path(target).parts:
            raise RecipeError(f"{path}: [{key}] leads out of the tarball: {target!r}")
    return mapping
