"""Writes a tarball that is the same, byte for byte, whenever its content is."""

import gzip
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

MTIME = 315532800
"""1980-01-01, the earliest time that zip files can hold."""


def write(tree: Path, root: str, destination: Path, *, exclude: Sequence[str] = ()) -> None:
    """Pack ``tree`` as the folder ``root`` of a gzipped tarball.

    Sorted by path, owned by root, modes reduced to 644 and 755, one fixed time. Gzip level 1: jars don't shrink.

    Args:
        tree: the content.
        root: name of the top folder in the tarball.
        destination: the tarball.
        exclude: glob patterns (``*`` stays within a folder's name) of paths under ``tree`` to leave out.
    """
    with (
        destination.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=MTIME) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        tar.addfile(_entry(tarfile.TarInfo(root), directory=True))
        for path in _walk(tree, tree, exclude):
            info = tarfile.TarInfo(f"{root}/{path.relative_to(tree).as_posix()}")
            if path.is_symlink():
                info.type, info.linkname = tarfile.SYMTYPE, path.readlink().as_posix()
                tar.addfile(_entry(info))
            elif path.is_dir():
                tar.addfile(_entry(info, directory=True))
            else:
                status = path.stat()
                info.size = status.st_size
                with path.open("rb") as stream:
                    tar.addfile(_entry(info, executable=bool(status.st_mode & 0o100)), stream)


def _walk(folder: Path, tree: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        relative = PurePosixPath(path.relative_to(tree).as_posix())
        if path.name == "__pycache__" or any(_matches(relative, pattern) for pattern in exclude):
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, tree, exclude)


def _matches(path: PurePosixPath, pattern: str) -> bool:
    # PurePath.match looks from the right; with as many parts as the path has, it is the whole path.
    return len(path.parts) == len(PurePosixPath(pattern).parts) and path.match(pattern)


def _entry(info: tarfile.TarInfo, *, directory: bool = False, executable: bool = False) -> tarfile.TarInfo:
    info.mtime = MTIME
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    if directory:
        info.type = tarfile.DIRTYPE
    info.mode = 0o755 if directory or executable else 0o644
    return info
