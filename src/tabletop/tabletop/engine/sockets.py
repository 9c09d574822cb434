"""A unix socket that answers each connection in a thread of its own, and sleeps while there is none."""

import logging
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket

from tabletop.socketaddress import address_of

logger = logging.getLogger(__name__)
_BACKLOG = 128
_PAUSE_S = 0.1
"""After a connection that can't be accepted, such as for want of descriptors: it goes on waiting, and poll says so."""


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
        self._wake = os.eventfd(0)
        self._open = True
        # Taken by a signal handler, too, which may interrupt the thread that has it.
        self._waking = threading.RLock()
        path.unlink(missing_ok=True)
        with address_of(path) as address:
            self._socket.bind(address)
        path.chmod(0o600)
        self._socket.listen(_BACKLOG)

    def serve(self) -> None:
        """Answer connections until `stop`; those that wait then are answered too."""
        self._socket.setblocking(False)
        poll = select.poll()
        for descriptor in (self._socket.fileno(), self._wake):
            poll.register(descriptor, select.POLLIN)
        while self._wake not in (descriptor for descriptor, _ in poll.poll()):
            self._accept()
        # Nobody else connects from here on: a connection that is not accepted would be cut, and its client could not
        # tell whether what it asked for was done.
        self._path.unlink(missing_ok=True)
        while self._accept():
            pass
        self._socket.close()
        with self._waking:
            # Its number will soon be another file's, which a late `stop` must not write to.
            self._open = False
            os.close(self._wake)

    def _accept(self) -> bool:
        """Answer one connection in a thread of its own; return whether there was one."""
        try:
            connection, _ = self._socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            logger.warning("%s: %s", self._path, error)
            time.sleep(_PAUSE_S)
            return False
        connection.setblocking(True)
        threading.Thread(target=self._handle, args=(connection,), name=self._path.name, daemon=True).start()
        return True

    def stop(self) -> None:
        """End `serve`, unless it has ended; may be called from a signal handler."""
        with self._waking:
            if self._open:
                os.eventfd_write(self._wake, 1)

    def _handle(self, connection: socket) -> None:
        with connection:
            try:
                self._answer(connection)
            except Exception:
                # The outermost loop of a connection.
                logger.exception("%s: a connection failed", self._path)
