"""From a charm's folder to a `.charm`: the same input gives the same file, and no input changed means no work."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tabletop.charmfile import CharmFile
from tabletop.emulation import is_emulated
from tabletop.packing import venv
from tabletop.packing.archive import Entry, folder_entries, write_archive
from tabletop.packing.errors import PackError
from tabletop.packing.metadata import metadata_files
from tabletop.packing.package import Package
from tabletop.packing.parts import Contents, contents
from tabletop.version import host_architecture

_FORMAT = 3
"""Part of every input's hash: raise it when the packer itself makes something else of the same input."""

_COMMENT = "tabletop inputs "
_OWN_FILES = ("README.md", "icon.svg", "LICENSE", "CHANGELOG.md")
_OWN_FOLDERS = ("src", "lib", "templates", "files")
_LEFT_OUT = ("__pycache__", "tests", ".pytest_cache", ".ruff_cache")

_DISPATCH = """\
#!/bin/sh
# Runs the charm in its own virtual environment. As in the script that charmcraft writes, the link to the interpreter
# is made on the machine: an archive of a charm can't hold a link that leads out of it.
charm=$(CDPATH= cd -- "${0%/*}" && pwd -P)
if [ ! -e "$charm/venv/bin/python" ]; then
    mkdir -p "$charm/venv/bin" && ln -sf "$(command -v python3)" "$charm/venv/bin/python"
fi
export PYTHONPATH="$charm/lib:$charm/src"
exec "$charm/venv/bin/python" "$charm/src/charm.py"
"""

_PYVENV = """\
home = {home}
include-system-site-packages = false
version = {version}
"""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed charm; `changed` is False if it was up to date already."""

    name: str
    path: Path
    changed: bool


def pack(
    folder: Path,
    output: Path,
    cache_dir: Path,
    progress: Callable[[str], None],
    *,
    architecture: str | None = None,
) -> Packed:
    """Pack a charm's folder.

    Args:
        folder: the charm's folder, with a unified charmcraft.yaml.
        output: the file to make, or a folder to make it in: `<name>.charm` for this host's architecture, else
            `<name>_<architecture>.charm`.
        cache_dir: where installed requirements are kept for the next charm that has the same.
        progress: told what takes a while.
        architecture: dpkg's name of the machines' architecture; this host's own if None.

    Raises:
        CharmError: the charm's metadata is malformed.
        PackError: it isn't meant for the architecture, something it is packed from is missing, or its requirements
            can't be installed.
    """
    if not folder.is_dir():
        raise PackError(f"{folder}: no such folder")
    charm = CharmFile.open(folder)
    if not (folder / "src/charm.py").is_file():
        raise PackError(f"{folder}/src/charm.py: is missing; it is what a charm runs")
    architecture = architecture or host_architecture()
    if not charm.runs_on(architecture):
        raise PackError(
            f"{folder}/charmcraft.yaml: {charm.name} is for {' and '.join(charm.architectures)}, by its platforms, "
            f"not for {architecture}"
        )
    if output.is_dir() or output.suffix != ".charm":
        output = output / f"{charm.name}{f'_{architecture}' if is_emulated(architecture) else ''}.charm"
    parts = contents(charm)
    inputs = _inputs_hash(folder, parts, architecture)
    if _packed_inputs(output) == inputs:
        return Packed(charm.name, output, changed=False)
    packages = venv.install(parts.requirements, architecture, cache_dir, progress)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tabletop-pack-") as temporary:
        stage = Path(temporary)
        _stage(folder, parts, stage)
        venv.compile_all(stage)
        entries = [
            *folder_entries(stage, ""),
            Entry("venv/pyvenv.cfg", _pyvenv()),
            Entry("dispatch", _DISPATCH.encode(), executable=True),
            Entry("version", (_version(folder, parts) or inputs[:12]).encode() + b"\n"),
            *(Entry(name, text.encode()) for name, text in metadata_files(charm, architecture).items()),
        ]
        write_archive(output, entries, onto=packages, comment=_COMMENT + inputs)
    return Packed(charm.name, output, changed=True)


def _stage(folder: Path, parts: Contents, stage: Path) -> None:
    """Lay out what is the charm's own and the workspace's, to be compiled."""
    leave_out = shutil.ignore_patterns(*_LEFT_OUT)
    for name in _OWN_FOLDERS:
        if (folder / name).is_dir():
            shutil.copytree(folder / name, stage / name, ignore=leave_out)
    for name in _OWN_FILES:
        if (folder / name).is_file():
            shutil.copy2(folder / name, stage / name)
    for found in parts.dumped:
        place = stage / found.place
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.source.is_dir():
            shutil.copytree(found.source, place, ignore=leave_out, dirs_exist_ok=True)
        else:
            shutil.copy2(found.source, place)
    site = stage / "venv" / venv.site_packages()
    for package in parts.packages:
        shutil.copytree(package.source, site / package.module, ignore=leave_out)
        info = site / f"{package.distribution.replace('-', '_')}-{package.version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_package_metadata(package))
        (info / "INSTALLER").write_text("tabletop\n")


def _package_metadata(package: Package) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {package.distribution}", f"Version: {package.version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {name}" for name in package.dependencies)]) + "\n"


def _pyvenv() -> bytes:
    return _PYVENV.format(home=venv.PYTHON.parent, version=venv.python()[0]).encode()


def _files(folder: Path) -> Iterator[Path]:
    """Walk a folder's files in a fixed order, leaving out what is no part of a charm."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        yield from (Path(parent) / name for name in sorted(names))


def _inputs(folder: Path, parts: Contents) -> Iterator[tuple[str, Path]]:
    yield "charmcraft.yaml", folder / "charmcraft.yaml"
    for name in _OWN_FILES:
        if (folder / name).is_file():
            yield name, folder / name
    for name in _OWN_FOLDERS:
        for path in _files(folder / name):
            yield path.relative_to(folder).as_posix(), path
    for found in parts.dumped:
        for path in _files(found.source) if found.source.is_dir() else (found.source,):
            yield f"{found.place} {path.relative_to(found.source).as_posix()}", path
    for package in parts.packages:
        yield f"{package.distribution}/pyproject.toml", package.source.parent / "pyproject.toml"
        for path in _files(package.source):
            yield f"{package.distribution}/{path.relative_to(package.source).as_posix()}", path


def _inputs_hash(folder: Path, parts: Contents, architecture: str) -> str:
    key = venv.requirements_key(parts.requirements, architecture)
    digest = hashlib.sha256(f"{_FORMAT} {key}\n{_DISPATCH}".encode())
    for name, path in _inputs(folder, parts):
        content = path.read_bytes()
        mode = "x" if os.access(path, os.X_OK) else "-"
        digest.update(f"{name} {mode} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _packed_inputs(path: Path) -> str | None:
    """Return the hash of the inputs that an archive says it was packed from."""
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment.decode(errors="replace")
    except (OSError, zipfile.BadZipFile):
        return None
    return comment.removeprefix(_COMMENT) if comment.startswith(_COMMENT) else None


def _version(folder: Path, parts: Contents) -> str | None:
    """Return the commit that last touched what the charm is packed from; None outside a git repository."""
    paths = [folder, *(package.source for package in parts.packages), *parts.requirements]
    paths += [found.source for found in parts.dumped]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *words, "--", *paths], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("log", "-1", "--format=%h")
    if not commit:
        return None
    return f"{commit}-dirty" if git("status", "--porcelain") else commit
