"""HDFS over WebHDFS: a typed face of the library ``hdfs``."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdfs import HdfsError, InsecureClient
from requests import RequestException

from iot_charm.errors import IotCharmError

# The library tells of every call at INFO.
logging.getLogger("hdfs").setLevel(logging.WARNING)


class WebHdfsError(IotCharmError):
    """HDFS did not do what was asked; the text says what it answered."""


@dataclass(frozen=True)
class PathStatus:
    """What HDFS knows of a path."""

    is_directory: bool
    owner: str
    group: str
    permission: str
    """Octal digits, as ``1777``."""
    length: int
    """Bytes."""
    replication: int


class WebHdfs:
    """A file system as one of its users sees it.

    Args:
        host: of the NameNode.
        web_port: of its web server.
        user: to act as.
        timeout_s: for one answer.
    """

    def __init__(self, host: str, web_port: int, *, user: str, timeout_s: float = 60) -> None:
        # The library has no types.
        self._user = user
        self._client: Any = InsecureClient(f"http://{host}:{web_port}", user=user, timeout=timeout_s)

    def status(self, path: str) -> PathStatus | None:
        """Look a path up; None stands for one that does not exist."""
        with _translated(path):
            found: dict[str, Any] | None = self._client.status(path, strict=False)
        if found is None:
            return None
        return PathStatus(
            is_directory=found["type"] == "DIRECTORY",
            owner=found["owner"],
            group=found["group"],
            permission=found["permission"],
            length=found["length"],
            replication=found["replication"],
        )

    def ensure_directory(self, path: str, *, owner: str, mode: str) -> bool:
        """Make a directory with this owner and mode; one that exists stays as its owner has it.

        Only the superuser can give a directory to another user. One that is still the superuser's own was not
        finished the last time.

        Returns:
            Whether it was made or finished.
        """
        found = self.status(path)
        if found is not None and (found.owner == owner or found.owner != self._user):
            return False
        with _translated(path):
            self._client.makedirs(path, permission=mode)
            # The NameNode applied its mask to the mode.
            self._client.set_permission(path, mode)
            self._client.set_owner(path, owner=owner)
        return True

    def names(self, path: str) -> list[str]:
        """Return the names in a directory."""
        with _translated(path):
            return list(self._client.list(path))

    def write(self, path: str, data: bytes, *, replication: int, overwrite: bool = False) -> None:
        """Write a file."""
        with _translated(path):
            self._client.write(path, data=data, replication=replication, overwrite=overwrite)

    def upload(self, source: Path, path: str, *, replication: int) -> None:
        """Copy a local file to ``path``, where it appears once it is whole."""
        partial = f"{path}.partial"
        with _translated(path), source.open("rb") as data:
            self._client.write(partial, data=data, replication=replication, overwrite=True)
            self._client.delete(path)
            self._client.rename(partial, path)

    def set_acl(self, path: str, entries: str) -> None:
        """Replace the access control list of ``path``, as ``user::rwx,group::r-x,other::---,default:...``."""
        with _translated(path):
            self._client.set_acl(path, entries, clear=True)

    def read(self, path: str) -> bytes:
        """Read a whole file."""
        with _translated(path), self._client.read(path) as reader:
            return reader.read()

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        """Delete a path; False if it did not exist."""
        with _translated(path):
            return bool(self._client.delete(path, recursive=recursive))


@contextmanager
def _translated(path: str) -> Generator[None]:
    try:
        yield
    except (HdfsError, RequestException) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WebHdfsError(f"{path}: {reason}") from error
