"""What recovery and accounting need of HDFS: over WebHDFS, with the library ``hdfs``, but for one call."""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hdfs import HdfsError, InsecureClient
from requests import RequestException, Session

from iot_charm.errors import IotCharmError
from iot_charm.flume import lease

# It reports every request at INFO.
logging.getLogger("hdfs").setLevel(logging.WARNING)


class StoreError(IotCharmError):
    """HDFS did not do what was asked, or was not there to ask."""


@dataclass(frozen=True)
class Entry:
    """One entry of a directory."""

    path: str
    is_directory: bool
    length: int
    """Bytes; of a file that is being written, those of its finished blocks."""
    modified: int
    """Milliseconds since the epoch; of a directory, when an entry came or went."""
    permission: str
    """Octal digits."""
    replication: int
    owner: str
    group: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Store:
    """A file system as one of its users sees it.

    Args:
        url: of the NameNode's web server.
        namenode: host and port of the NameNode's RPC.
        user: to act as.
        timeout_s: for one answer.
    """

    def __init__(self, url: str, namenode: tuple[str, int], *, user: str, timeout_s: float = 60):
        self._url = url
        self._namenode = namenode
        self._user = user
        self._session = Session()
        # The library has no types, and its methods lack `truncate`.
        self._client: Any = InsecureClient(url, user=user, timeout=timeout_s, session=self._session)
        self._timeout_s = timeout_s

    def list(self, path: str) -> list[Entry]:
        """List a directory, in the order of names; one that does not exist is empty."""
        with _translated(path):
            if self._client.status(path, strict=False) is None:
                return []
            found: list[tuple[str, dict[str, Any]]] = self._client.list(path, status=True)
        return [_entry(f"{path}/{name}", status) for name, status in found]

    def walk(self, path: str) -> Iterator[Entry]:
        """Iterate over all that is under a directory, each directory before what is in it, as ``ls -R`` does."""
        for entry in self.list(path):
            yield entry
            if entry.is_directory:
                yield from self.walk(entry.path)

    def length(self, path: str) -> int:
        """Return the length of a file."""
        with _translated(path):
            return int(self._client.status(path)["length"])

    def exists(self, path: str) -> bool:
        """Tell whether there is such a path."""
        with _translated(path):
            return self._client.status(path, strict=False) is not None

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Read a part of a file."""
        with _translated(path), self._client.read(path, offset=offset, length=length) as reader:
            return bytes(reader.read())

    def chunks(self, path: str, *, size: int = 64 << 10) -> Iterator[bytes]:
        """Iterate over a file from its beginning."""
        with _translated(path), self._client.read(path, chunk_size=size) as reader:
            yield from reader

    def take(self, path: str) -> bool:
        """Take a file from whoever writes it.

        HDFS agrees with the DataNodes on its length, which needs one of them to be there, and closes it.

        Returns:
            Whether the file is closed; else a later call will tell.
        """
        try:
            return lease.recover(*self._namenode, path, user=self._user, timeout_s=self._timeout_s)
        except lease.LeaseError as error:
            raise StoreError(str(error)) from error

    def truncate(self, path: str, length: int) -> None:
        """Cut a file that is closed; it is so again once :meth:`take` says so."""
        reason = self._truncate(path, length)
        if reason:
            raise StoreError(f"{path}: can't be cut to {length} bytes: {reason}")

    def rename(self, source: str, destination: str) -> None:
        """Rename a file.

        Raises:
            StoreError: among others, there is a file of that name already.
        """
        with _translated(source):
            self._client.rename(source, destination)

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        """Delete a path; False if it did not exist."""
        with _translated(path):
            return bool(self._client.delete(path, recursive=recursive))

    def _truncate(self, path: str, length: int) -> str:
        """Ask for a file to be cut; returns the name of the exception that HDFS answered, or nothing."""
        parameters: dict[str, str | int] = {"op": "TRUNCATE", "newlength": length, "user.name": self._user}
        url = f"{self._url.rstrip('/')}/webhdfs/v1{path}"
        with _translated(path):
            answer = self._session.post(url, params=parameters, timeout=self._timeout_s)
            if answer.ok:
                return ""
            return str(answer.json()["RemoteException"]["exception"])


@contextmanager
def _translated(path: str) -> Generator[None]:
    try:
        yield
    except (HdfsError, RequestException, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise StoreError(f"{path}: {reason}") from error


def _entry(path: str, status: dict[str, Any]) -> Entry:
    return Entry(
        path=path,
        is_directory=status["type"] == "DIRECTORY",
        length=status["length"],
        modified=status["modificationTime"],
        permission=status["permission"],
        replication=status["replication"],
        owner=status["owner"],
        group=status["group"],
    )
