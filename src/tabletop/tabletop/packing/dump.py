"""Parts of the dump plugin: files and folders that go into a charm as they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from tabletop.charmfile import CharmFile
from tabletop.packing.errors import PackError
from tabletop.yamlfile import YamlFile

KEYS = ("organize", "stage")
_WILDCARDS = frozenset("*?[]{}")


@dataclass(frozen=True, slots=True)
class Dumped:
    """A file or a folder, its place in the charm, and the file and line that name it."""

    source: Path
    place: str
    where: str


def dumped(charm: CharmFile, file: YamlFile, name: str) -> Iterator[Dumped]:
    """Read what one part puts into the charm.

    `organize` moves single files and folders of the source; `stage` names what is taken, by its place in the charm.
    What `stage` leaves out again, with a minus before it, is byte code, which this packer makes anew in any case.

    Raises:
        PackError: a file is missing, or the part is of a form that this packer doesn't know.
    """
    part = cast("dict[str, Any]", charm.parts[name])
    source = part.get("source")
    if not isinstance(source, str):
        raise PackError(f"{file.where('parts', name)}: parts.{name}.source: must be a path")
    folder = (charm.path / source).resolve()
    moved = _organize(part, file, name)
    staged: object = part.get("stage")
    if not isinstance(staged, list) or not staged:
        raise PackError(f"{file.where('parts', name)}: parts.{name}.stage: must list what is taken")
    for number, place in enumerate(cast("list[object]", staged)):
        where = file.where("parts", name, "stage", number)
        if not isinstance(place, str):
            raise PackError(f"{where}: parts.{name}.stage: must be paths")
        if place.startswith("-"):
            _check_exclusion(place, f"{where}: parts.{name}.stage")
            continue
        found = list(_found(folder, moved, _plain(place, f"{where}: parts.{name}.stage"), file, name))
        if not found:
            raise PackError(f"{where}: no such file: {folder / place}")
        yield from found


def _found(folder: Path, moved: Mapping[str, str], place: str, file: YamlFile, part: str) -> Iterator[Dumped]:
    for origin, target in moved.items():
        if PurePosixPath(target).is_relative_to(place):
            where = file.where("parts", part, "organize", origin)
            if not (folder / origin).exists():
                raise PackError(f"{where}: no such file: {folder / origin}")
            yield Dumped(folder / origin, target, where)
    if (folder / place).exists():
        yield Dumped(folder / place, place, file.where("parts", part, "stage"))


def _organize(part: Mapping[str, Any], file: YamlFile, name: str) -> dict[str, str]:
    organize: object = part.get("organize") or {}
    where = f"{file.where('parts', name, 'organize')}: parts.{name}.organize"
    if not isinstance(organize, dict):
        raise PackError(f"{where}: must be a mapping")
    moved: dict[str, str] = {}
    for origin, target in cast("dict[str, object]", organize).items():
        if not isinstance(target, str):
            raise PackError(f"{where}.{origin}: must be a path")
        moved[_plain(origin, where)] = _plain(target, where)
    return moved


def _plain(path: str, where: str) -> str:
    pure = PurePosixPath(path)
    if _WILDCARDS & set(path) or pure.is_absolute() or ".." in pure.parts:
        raise PackError(f"{where}: {path}: this packer takes plain paths below the part's source")
    return pure.as_posix()


def _check_exclusion(pattern: str, where: str) -> None:
    if PurePosixPath(pattern).name != "__pycache__":
        raise PackError(f"{where}: {pattern}: this packer leaves out __pycache__, nothing else")
