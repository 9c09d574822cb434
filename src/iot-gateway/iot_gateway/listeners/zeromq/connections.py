"""The TCP connections behind a socket of ZeroMQ, which libzmq itself can only cut with all that is in them."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

_Identity = tuple[int, int]
"""Device and inode of an open connection; its descriptor is soon another's."""


class Callers:
    """Those who are connected to a port of this process when this is made."""

    def __init__(self, port: int):
        self._known: set[_Identity] = set()
        for descriptor, identity in _sockets():
            with contextlib.suppress(OSError), _duplicate(descriptor) as end:
                if end.family in (socket.AF_INET, socket.AF_INET6) and end.getsockname()[1] == port:
                    end.getpeername()  # the socket that listens has none
                    self._known.add(identity)

    def hang_up(self) -> bool:
        """Tell them that there is no more to come from here, if nothing of what they sent is unread now.

        libzmq takes the end of its peer's sending for the end of the connection: a node sends nothing more, the kernel
        delivers what is on its way, and then the node's end is closed as well. A node whose link is full would lose
        what it has between its queue and the link; and libzmq here, what it has no room for at that moment.

        Returns:
            Whether any of them is still connected.
        """
        left = False
        for descriptor, identity in _sockets():
            if identity in self._known:
                left = True
                with contextlib.suppress(OSError), _duplicate(descriptor) as end:
                    try:
                        end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        end.shutdown(socket.SHUT_WR)
        return left


def _duplicate(descriptor: int) -> socket.socket:
    """Open a socket once more: libzmq closes its own when it likes."""
    return socket.socket(fileno=os.dup(descriptor))


def _sockets() -> Iterator[tuple[int, _Identity]]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - no paths are wanted
        with contextlib.suppress(OSError):
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                yield int(name), (found.st_dev, found.st_ino)
