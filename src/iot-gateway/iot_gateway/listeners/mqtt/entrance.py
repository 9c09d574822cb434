"""Who is let in: the node that a client's certificate or password is of."""

import asyncio
from typing import Final

from iot_gateway.listeners.mqtt import tls
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connecting import Connect
from iot_gateway.listeners.mqtt.hub import PROTOCOL
from iot_gateway.nodes import AdmissionError, Node, Nodes, NotAllowedError, TooManyAttemptsError

_REFUSALS: Final[dict[type[AdmissionError], Reason]] = {
    NotAllowedError: Reason.NOT_AUTHORISED,
    TooManyAttemptsError: Reason.RATE,
}


def admit(nodes: Nodes, connect: Connect, transport: asyncio.Transport | None) -> Node:
    """Return the node whose client introduces itself.

    Args:
        nodes: that are known.
        connect: what the client says.
        transport: by which it came.

    Raises:
        AdmissionError: it is none that may come in.
    """
    common_name = tls.common_name(transport.get_extra_info("peercert")) if transport else None
    if common_name is None:
        return nodes.admit(PROTOCOL, connect.username or "", address(transport), connect.password or b"")
    certified = nodes.certified(common_name)
    if connect.username not in (None, "", certified):
        raise NotAllowedError(f"{connect.username!r} shows the certificate of {certified!r}")
    return nodes.admit(PROTOCOL, certified, address(transport))


def refusal(error: AdmissionError) -> Reason:
    """Return what a client is told that is not let in."""
    return _REFUSALS.get(type(error), Reason.BAD_CREDENTIAL)


def address(transport: asyncio.Transport | None) -> str:
    """Return where a client comes from."""
    peer = transport.get_extra_info("peername") if transport else None
    return str(peer[0]) if peer else "unknown"
