"""A unix socket that answers each connection in a thread of its own, and sleeps while there is none."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, SOCK_STREAM, socket

logger = logging.getLogger(__name__)
_BACKLOG = 128


class Listener:
    """Listens from its construction on; connections are answered while `serve` runs."""

    def __init__(self, path: Path, answer: Callable[[socket], None]) -> None:
        """Listen at a path, which only its owner may open; a socket that a dead process left there is replaced.

        Args:
            path: of the socket; may be longer than a socket's address.
            answer: called with each connection, which is closed after it.
        """
        self._path = path
        self._answer = answer
        self._socket = socket(AF_UNIX, SOCK_STREAM)
        self._stopping = False
        path.unlink(missing_ok=True)
        # A socket's address has at most 107 bytes, and the folder's path may be longer.
        folder = os.open(path.parent, os.O_PATH)
        try:
            self._socket.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        path.chmod(0o600)
        self._socket.listen(_BACKLOG)

    def serve(self) -> None:
        """Answer connections until `stop`."""
        while not self._stopping:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if not self._stopping:
                    logger.warning("%s: %s", self._path, error)
                continue
            threading.Thread(target=self._handle, args=(connection,), name=self._path.name, daemon=True).start()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End `serve`; may be called from a signal handler."""
        self._stopping = True
        with contextlib.suppress(OSError):
            # Wakes the thread in accept(); closing the socket would not.
            self._socket.shutdown(SHUT_RDWR)

    def _handle(self, connection: socket) -> None:
        with connection:
            try:
                self._answer(connection)
            except Exception:
                # The outermost loop of a connection.
                logger.exception("%s: a connection failed", self._path)
