"""The base images in the cache: which are still of use, and removing the others.

Several tabletops of a host may share a cache, so each leaves there where its state is.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabletop.errors import TabletopError
from tabletop.image import find_image, images_directory
from tabletop.machine_store import MachineStore
from tabletop.mounts import parse_mountinfo, remove_tree
from tabletop.paths import Paths
from tabletop.recipe import Recipe
from tabletop.settings import image_packages

_GONE = ".gone-"
_SETTLED_S = 3600.0
"""A younger image is left alone: a machine may be about to be made of it."""


@dataclass(frozen=True)
class StoredImage:
    """One image of the cache."""

    path: Path
    machines: tuple[str, ...]
    """Who has it below its overlay, each as `<tag>-<name>`."""
    current: bool
    """Whether new machines would be made of it."""
    age: float
    """Seconds since it was built."""

    @property
    def name(self) -> str:
        """Its name in the cache."""
        return self.path.name

    @property
    def unused(self) -> bool:
        """Whether it can go."""
        return not self.machines and not self.current and self.age > _SETTLED_S

    def size(self) -> int:
        """Return the bytes it has on disk."""
        return _size(self.path)


def register(paths: Paths) -> None:
    """Note in the cache that a tabletop uses it."""
    note = _registry(paths) / paths.tag
    note.parent.mkdir(parents=True, exist_ok=True)
    draft = note.with_name(f".{note.name}.{os.getpid()}")
    draft.write_text(f"{paths.state.absolute()}\n")
    draft.replace(note)


def stored_images(paths: Paths) -> list[StoredImage]:
    """List the images of the cache."""
    users = _users(paths)
    mounted = _mounted(images_directory(paths))
    current = _current(paths, users)
    now = time.time()
    return [
        StoredImage(
            path,
            machines=tuple(sorted(_machines_of(path.name, users))) or (("a mounted one",) if path in mounted else ()),
            current=path in current,
            age=now - path.stat().st_mtime,
        )
        for path in _images(paths)
    ]


def prune_images(paths: Paths) -> list[tuple[str, int]]:
    """Remove the images that no recipe asks for and no machine has below it.

    Returns:
        The name of each that went, and the bytes it had on disk.
    """
    for leftover in images_directory(paths).glob(f"{_GONE}*"):
        remove_tree(leftover)
    removed: list[tuple[str, int]] = []
    for image in stored_images(paths):
        if not image.unused:
            continue
        size = image.size()
        discard(image.path)
        removed.append((image.name, size))
    return removed


def discard(image: Path) -> None:
    """Remove an image: as far as anyone can see, at once."""
    gone = image.with_name(_GONE + image.name)
    remove_tree(gone)
    image.rename(gone)
    remove_tree(gone)


def _images(paths: Paths) -> list[Path]:
    directory = images_directory(paths)
    return sorted(path for path in directory.glob("*-*-*-????????") if path.is_dir() and path.name[0] != ".")


def _registry(paths: Paths) -> Path:
    return paths.cache / "tabletops"


def _users(paths: Paths) -> list[Paths]:
    """The tabletops that share the cache; notes of those that are gone are removed."""
    found = {paths.state.absolute(): paths}
    for note in _registry(paths).glob("[!.]*"):
        state = Path(note.read_text().strip())
        if state.is_dir():
            found.setdefault(state, Paths(state, paths.cache, paths.run))
        elif state != paths.state.absolute():
            note.unlink(missing_ok=True)
    return list(found.values())


def _machines_of(image: str, users: Iterable[Paths]) -> set[str]:
    stores = [MachineStore(user) for user in users]
    return {store.unit(machine.name) for store in stores for machine in store.all() if machine.image == image}


def _mounted(directory: Path) -> set[Path]:
    """The images that an overlay lies over, also one of a tabletop that left no note."""
    mounts = parse_mountinfo(Path("/proc/self/mountinfo").read_text())
    options = (option.partition("=") for mount in mounts for option in mount.options)
    lowers = (Path(value) for key, _, value in options if key in ("lowerdir", "lowerdir+"))
    return {lower for lower in lowers if lower.parent == directory}


def _current(paths: Paths, users: Sequence[Paths]) -> set[Path]:
    """The images that the tabletops would make machines of, by what each was told to include."""
    architectures = {path.name.split("-")[1] for path in _images(paths)}
    includes = {(), *(image_packages(user) for user in users)}
    found: set[Path] = set()
    for architecture in architectures:
        for include in includes:
            try:
                image = find_image(paths, Recipe.of_host(include, architecture))
            except TabletopError:
                # The host has no package sources for it, at the moment perhaps: nothing of it is touched.
                found |= {path for path in _images(paths) if path.name.split("-")[1] == architecture}
            else:
                found |= {image.path} if image else set()
    return found


def _size(directory: Path) -> int:
    """Bytes on disk below a directory; a file of many names counts once."""
    seen: set[int] = set()
    total = 0
    for folder, _, files in os.walk(directory):
        for status in (os.lstat(folder), *(os.lstat(Path(folder) / file) for file in files)):
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
    return total
