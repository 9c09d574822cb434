"""Files and directories in the state a charm wants them in."""

import grp
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path


def ensure_file(
    path: Path, content: str | bytes, *, mode: int = 0o644, owner: str = "root", group: str | None = None
) -> bool:
    """Make ``path`` a file with this content, mode and owner; a reader sees the old content or the new, never a part.

    Args:
        path: the file; its directory must exist.
        content: text is written as UTF-8.
        mode: permission bits.
        owner: name of the owning user.
        group: name of the owning group; by default the owner's primary group.

    Returns:
        Whether anything changed.
    """
    data = content.encode() if isinstance(content, str) else content
    uid, gid = _ids(owner, group)
    if _is_file_with(path, data):
        return _ensure_access(path, mode, uid, gid)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            if (os.geteuid(), os.getegid()) != (uid, gid):
                os.fchown(file.fileno(), uid, gid)
            os.fsync(file.fileno())
        Path(name).replace(path)
        _sync_directory(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return True


def _sync_directory(path: Path) -> None:
    """Have the directory's entries on the disk: a file that was replaced is so after a power cut as well."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ensure_directory(path: Path, *, mode: int = 0o755, owner: str = "root", group: str | None = None) -> bool:
    """Make ``path`` a directory with this mode and owner; missing parents are made with the process's defaults.

    Returns:
        Whether anything changed.
    """
    made = not path.is_dir()
    path.mkdir(parents=True, exist_ok=True)
    return _ensure_access(path, mode, *_ids(owner, group)) or made


def remove(path: Path) -> bool:
    """Remove a file, a symbolic link or a whole directory.

    Returns:
        Whether there was anything to remove.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return True
    existed = path.is_symlink() or path.exists()
    path.unlink(missing_ok=True)
    return existed


def _is_file_with(path: Path, data: bytes) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size == len(data) and path.read_bytes() == data


def _ensure_access(path: Path, mode: int, uid: int, gid: int) -> bool:
    found = path.stat()
    changed = False
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
        changed = True
    if stat.S_IMODE(found.st_mode) != mode or changed:  # chown clears the set-id bits
        path.chmod(mode)
        changed = changed or stat.S_IMODE(found.st_mode) != mode
    return changed


def _ids(owner: str, group: str | None) -> tuple[int, int]:
    user = pwd.getpwnam(owner)
    return user.pw_uid, grp.getgrnam(group).gr_gid if group else user.pw_gid
