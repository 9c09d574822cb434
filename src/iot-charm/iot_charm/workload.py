"""Daemons that ship inside a charm: Python packages of its virtual environment and of its ``lib`` folder.

They are copied out of the charm, so that a refresh of the charm, which replaces its folder, never changes the code
under a running daemon. A unit runs ``/usr/bin/python3 -m <module>`` with ``PYTHONPATH=/opt/<name>``.
"""

import compileall
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import cache_from_source
from pathlib import Path

from iot_charm.errors import DistributionError
from iot_charm.files import ensure_file, remove

logger = logging.getLogger(__name__)

PREFIX = Path("/opt")
PYTHON = "/usr/bin/python3"
_SOURCE = ".source"
"""Names what an installation was copied from, so that nothing need be read again to see that it is current."""


def ensure_python_workload(name: str, charm_dir: Path, *, prefix: Path = PREFIX) -> bool:
    """Install the packages that the charm brings along as ``<prefix>/<name>``.

    ``<prefix>/<name>`` is a symbolic link to ``<name>-<hash of the packages>``. The installation that it pointed to
    before stays until the next one, for the daemon that still runs from it.

    Args:
        name: of the daemon.
        charm_dir: the charm's folder, which holds ``venv`` and, for packages of the workspace, ``lib``.
        prefix: where installations are.

    Returns:
        Whether the link now points to other code; the daemon then needs a restart to run it.

    Raises:
        DistributionError: the charm has no virtual environment.
    """
    sources = _sources(charm_dir)
    link = prefix / name
    signature = _signature(sources)
    if link.is_dir() and (link / _SOURCE).is_file() and (link / _SOURCE).read_text() == signature:
        return False
    target = prefix / f"{name}-{_digest(sources)[:12]}"
    if not target.is_dir():
        _copy(sources, target)
    ensure_file(target / _SOURCE, signature)
    former = link.resolve() if link.is_symlink() else None
    if former == target:
        return False
    _point(link, target)
    for path in prefix.glob(f"{name}-????????????"):
        if path not in (target, former):
            remove(path)
    logger.info("installed %s as %s", name, target)
    return True


def _sources(charm_dir: Path) -> list[Path]:
    """Return the folders of the charm's packages; what is in a later one goes before what is in an earlier one."""
    venv = charm_dir / "venv"
    found = sorted(venv.glob("lib/python3*/site-packages"))
    if not found and not (venv / "iot_charm").is_dir():
        raise DistributionError(f"{venv} holds no Python packages: pack the charm with tabletop or charmcraft")
    # A flat virtual environment is what older packers made.
    packages = found[-1] if found else venv
    return [packages, lib] if (lib := charm_dir / "lib").is_dir() else [packages]


def _files(sources: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Iterate over the files and their places below their source in a stable order, but for byte code."""
    for source in sources:
        for directory, names, files in os.walk(source):
            names[:] = sorted(name for name in names if name != "__pycache__")
            for file in sorted(files):
                path = Path(directory, file)
                yield path, path.relative_to(source)


def _signature(sources: Sequence[Path]) -> str:
    digest = hashlib.sha256("".join(map(str, sources)).encode())
    for path, place in _files(sources):
        status = path.stat()
        digest.update(f"{place} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _digest(sources: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path, place in _files(sources):
        digest.update(f"{place} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _copy(sources: Sequence[Path], target: Path) -> None:
    """Copy to a name aside first: a target that is there is whole."""
    aside = target.with_name(f".{target.name}.partial")
    remove(aside)
    for source in sources:
        shutil.copytree(source, aside, dirs_exist_ok=True)
    # The daemon's user can't write byte code there, and would compile everything at every start. What came with byte
    # code keeps it: on a small board compiling takes a minute.
    for path, _ in _files([aside]):
        if path.suffix == ".py" and not Path(cache_from_source(str(path))).exists():
            compileall.compile_file(str(path), quiet=2)
    aside.replace(target)


def _point(link: Path, target: Path) -> None:
    aside = link.with_name(f".{link.name}.link")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)
