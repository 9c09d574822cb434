"""Addresses: of nodes, as aiocoap wants them, and of the sockets that they are spoken to by."""

# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false, reportUnknownVariableType=false
# aiocoap's properties are made for attributes to take their place.

import logging
import socket
from typing import Any, NamedTuple

from aiocoap import interfaces
from aiocoap.util import hostportjoin  # pyright: ignore[reportUnknownVariableType]

logger = logging.getLogger(__name__)


class Port:
    """One bound socket."""

    def __init__(self, bound: socket.socket):
        self.socket = bound
        self.local: str = hostportjoin(*bound.getsockname()[:2])

    def send(self, data: bytes, to: tuple[Any, ...]) -> None:
        """Send a datagram; one that can't be sent is lost, as any may be."""
        try:
            self.socket.sendto(data, to)
        except OSError as problem:
            logger.debug("a datagram to %s is lost: %s", to, problem)


class _Fields(NamedTuple):
    port: Port
    peer: tuple[Any, ...]
    """What the system calls an address: host, port, ..."""


class Address(_Fields, interfaces.EndpointAddress):
    """Who is spoken to, and by which socket."""

    scheme = "coap"
    is_multicast = is_multicast_locally = False

    @property
    def hostinfo(self) -> str:
        """The peer's host and port."""
        return hostportjoin(*self.peer[:2])

    @property
    def hostinfo_local(self) -> str:
        """The socket's host and port."""
        return self.port.local

    @property
    def uri_base(self) -> str:
        """The peer's address as a URI."""
        return f"coap://{self.hostinfo}"

    @property
    def uri_base_local(self) -> str:
        """The socket's address as a URI."""
        return f"coap://{self.port.local}"

    @property
    def blockwise_key(self) -> tuple[Any, ...]:
        """What blocks of one request have in common."""
        return self.peer
