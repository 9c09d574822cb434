"""A workload's distribution: a tarball that came as the charm's resource, unpacked under /opt."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

from iot_charm import progress
from iot_charm.errors import DistributionError
from iot_charm.files import ensure_file, remove


def ensure_installed(archive: Path, name: str, *, prefix: Path = Path("/opt")) -> bool:
    """Unpack ``archive`` to ``<prefix>/<name>-<digest>`` and point the symbolic link ``<prefix>/<name>`` at it.

    The link is flipped once everything is there, so an installation is whole or it is the one before. Older ones are
    removed: what runs from them must start anew (:func:`iot_charm.services.ensure_running`).

    Args:
        archive: a tar file, compressed or not, with one folder at its top.
        name: of the workload.
        prefix: directory to install under.

    Returns:
        Whether anything changed.

    Raises:
        DistributionError: the archive can't be used; the text names it and what to do.
    """
    digest = _digest(archive, prefix / f".{name}.json")
    target, link = prefix / f"{name}-{digest[:12]}", prefix / name
    if target.is_dir() and link.is_symlink() and link.resolve() == target.resolve():
        return False
    if not target.is_dir():
        progress.announce(f"Installing {name}")
        _unpack(archive, target)
    fresh_link = prefix / f".{name}.link"
    remove(fresh_link)
    fresh_link.symlink_to(target.name)
    fresh_link.replace(link)
    _remember(archive, digest, prefix / f".{name}.json")
    for older in prefix.glob(f"{name}-*"):
        if older != target and re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", older.name):
            remove(older)
    return True


def _unpack(archive: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    remove(partial)
    partial.mkdir(parents=True)
    try:
        # tar and not tarfile: it needs a fifth of the time for hundreds of MB, and it too keeps members inside.
        tar = subprocess.run(
            ["tar", "--extract", "--no-same-owner", "--file", archive, "--directory", partial],
            capture_output=True,
            text=True,
            check=False,
        )
        if tar.returncode != 0:
            reason = tar.stderr.strip().splitlines()[0] if tar.stderr.strip() else f"tar exited {tar.returncode}"
            raise _unusable(archive, f"can't be unpacked: {reason}")
        top = list(partial.iterdir())
        if len(top) != 1 or not top[0].is_dir():
            raise _unusable(archive, f"must hold one folder at its top, not {len(top)} entries")
        top[0].replace(target)
    finally:
        remove(partial)


def _digest(archive: Path, memory: Path) -> str:
    """Return the archive's SHA-256, read once as long as its size and time of change stay the same."""
    try:
        found = archive.stat()
    except OSError as error:
        raise _unusable(archive, f"can't be read: {error.strerror}") from error
    if found.st_size == 0:
        raise _unusable(archive, "is empty")
    try:
        remembered = json.loads(memory.read_text())
        if remembered["archive"] == _identity(archive):
            return str(remembered["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never installed, or not by this version: read the archive
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remember(archive: Path, digest: str, memory: Path) -> None:
    owner = memory.parent.owner()
    ensure_file(memory, json.dumps({"archive": _identity(archive), "sha256": digest}) + "\n", owner=owner)


def _identity(archive: Path) -> list[str | int]:
    found = archive.stat()
    return [str(archive.resolve()), found.st_size, found.st_mtime_ns, found.st_ino]


def _unusable(archive: Path, what: str) -> DistributionError:
    return DistributionError(
        f"resource file {archive.name} {what}; attach a whole one (juju attach-resource), "
        "as resources/build.py builds it"
    )
