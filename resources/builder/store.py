"""Where built tarballs are kept, and how one is built when it is not there yet."""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder import archive, maven, python
from builder.errors import ResourceError, from_os_error
from builder.recipe import Recipe

logger = logging.getLogger(__name__)

KEPT = 2
"""Tarballs of a resource that stay in the cache: the one in use and the one before."""


@dataclass(frozen=True, slots=True)
class Store:
    """A cache outside the work tree; it can be removed at any time."""

    directory: Path

    def path(self, recipe: Recipe) -> Path:
        """Return where the tarball of ``recipe`` is, or would be."""
        return self.directory / "resources" / recipe.name / recipe.fingerprint() / recipe.archive

    def ensure(self, recipe: Recipe, *, write_checksums: bool = False) -> Path:
        """Return the tarball of ``recipe``, built first if it is not there.

        Raises:
            ResourceError: it can't be built.
        """
        path = self.path(recipe)
        if path.is_file() and not write_checksums:
            logger.info("%s %s: is in the cache", recipe.name, recipe.version)
            return path
        try:
            with self._lock(recipe):
                path = self.path(recipe)
                if not path.is_file() or write_checksums:
                    path = self._build(recipe, write_checksums=write_checksums)
                    self._prune(recipe, path)
        except OSError as error:
            raise from_os_error(error, self.directory) from error
        return path

    def _build(self, recipe: Recipe, *, write_checksums: bool) -> Path:
        started = time.monotonic()
        staging = self.directory / "resources" / recipe.name
        with tempfile.TemporaryDirectory(prefix=".building-", dir=staging, ignore_cleanup_errors=True) as scratch:
            root = Path(scratch) / "root"
            root.mkdir()
            for pom, directory in recipe.maven.items():
                maven.copy_dependencies(recipe, pom, root / directory, repository=self.directory / "maven")
            if write_checksums and recipe.maven:
                found = maven.checksums(recipe, root)
                recipe.checksums.write_text("".join(f"{digest}  {path}\n" for path, digest in found.items()))
                logger.info("%s: wrote %s (%d jars)", recipe.name, recipe.checksums, len(found))
            maven.verify(recipe, root)
            if recipe.requirements.is_file():
                python.install(recipe, root, scratch=Path(scratch) / "python", cache=self.directory / "uv")
            if recipe.overlay.is_dir():
                shutil.copytree(recipe.overlay, root, symlinks=True, dirs_exist_ok=True)
            logger.info("%s: packing", recipe.name)
            packed = Path(scratch) / recipe.archive
            archive.write(root, recipe.root, packed, exclude=recipe.exclude)
            destination = self.path(recipe)
            destination.parent.mkdir(parents=True, exist_ok=True)
            packed.replace(destination)
        logger.info(
            "%s %s: built %s, %d MiB, in %.0f s",
            recipe.name,
            recipe.version,
            recipe.archive,
            destination.stat().st_size // 2**20,
            time.monotonic() - started,
        )
        return destination

    @contextmanager
    def _lock(self, recipe: Recipe) -> Generator[None]:
        # One build at a time: Maven's local repository is not made for two.
        (self.directory / "resources" / recipe.name).mkdir(parents=True, exist_ok=True)
        with (self.directory / "resources" / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: waiting for another build to end", recipe.name)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prune(self, recipe: Recipe, current: Path) -> None:
        folder = self.directory / "resources" / recipe.name
        for leftover in folder.glob(".building-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        others = [path for path in folder.iterdir() if path.is_dir() and path != current.parent]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[KEPT - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def link(source: Path, destination: Path) -> None:
    """Make ``destination`` the same file as ``source``: a hard link, or a copy on another disk.

    Not a symbolic link: a confined client could not follow it out of the work tree.

    Raises:
        ResourceError: it can't be made.
    """
    if destination.exists() and _same(source, destination):
        return
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
        try:
            try:
                temporary.hardlink_to(source)
            except OSError:
                shutil.copy2(source, temporary)
            temporary.replace(destination)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, destination.parent) from error


def _same(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    first, second = one.stat(), other.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ResourceError(str(error)) from error
