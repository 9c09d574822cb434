"""Zip archives whose bytes depend on nothing but what is in them."""

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tabletop.packing.errors import PackError

_DATE = (1980, 1, 1, 0, 0, 0)
_LEVEL = 1
"""Charms are packed far more often than they travel."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an archive: its content is at a path, or given."""

    name: str
    content: Path | bytes
    executable: bool = False


def folder_entries(folder: Path, prefix: str = "") -> Iterator[Entry]:
    """Return the files below a folder, under a prefix."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            yield Entry(prefix + path.relative_to(folder).as_posix(), path, os.access(path, os.X_OK))


def write_archive(output: Path, entries: Iterable[Entry], *, onto: Path | None = None, comment: str = "") -> None:
    """Write an archive beside its final place and move it there, whole.

    Args:
        output: its final place.
        entries: what is in it.
        onto: an archive whose entries it has too; they are taken as they are, compressed.
        comment: the archive's comment.

    Raises:
        PackError: it can't be written.
    """
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        if onto is not None:
            shutil.copyfile(onto, temporary)
        with zipfile.ZipFile(temporary, "a", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for entry in sorted(entries, key=lambda entry: entry.name):
                info = zipfile.ZipInfo(entry.name, _DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o100755 if entry.executable else 0o100644) << 16
                content = entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes()
                archive.writestr(info, content)
            archive.comment = comment.encode()
        temporary.replace(output)
    except OSError as error:
        raise PackError(f"{output}: can't be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
