"""The short way of a request that is plain telemetry in one datagram, protected by OSCORE or not.

It knows just that much of CoAP, and costs a seventh of the long way. Whatever else a request holds sends it there, with
nothing done yet.
"""

from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from iot_gateway.listeners.coap import recent, wire
from iot_gateway.listeners.coap.address import Address
from iot_gateway.listeners.coap.endpoint import Endpoint
from iot_gateway.listeners.coap.security import Contexts, NodeContext, Sealed
from iot_gateway.listeners.coap.storing import Pending
from iot_gateway.listeners.coap.telemetry import PATH, PROTOCOL, Gate, RefusedError

_NODE = b"node="


class _Asked(NamedTuple):
    """What the options of a request say."""

    path: list[str]
    """Behind ``/telemetry``."""
    node: str | None
    content_format: int | None


def _asked(options: list[tuple[int, bytes]]) -> _Asked | None:
    """Return what they say; None if it is something else than telemetry."""
    path: list[str] = []
    node: str | None = None
    content_format: int | None = None
    for number, value in options:
        if number == wire.URI_PATH:
            path.append(value.decode(errors="replace"))
        elif number == wire.CONTENT_FORMAT:
            content_format = int.from_bytes(value, "big")
        elif number == wire.URI_QUERY:
            if value.startswith(_NODE):
                node = value[len(_NODE) :].decode(errors="replace")
        elif number not in (wire.URI_HOST, wire.URI_PORT):
            return None
    return _Asked(path[1:], node, content_format) if path and path[0] == PATH else None


class _Plain(Pending):
    """A request that came unprotected."""

    __slots__ = ("_address", "_endpoint", "_request")

    def __init__(self, endpoint: Endpoint, address: Address, request: wire.Request):
        super().__init__()
        self._endpoint, self._address, self._request = endpoint, address, request

    def reply(self, code: int, diagnostic: str = "", max_age: int | None = None) -> None:
        """Send the answer, and remember its code."""
        endpoint, address, request = self._endpoint, self._address, self._request
        endpoint.messages.recent.answer(recent.key(address.peer, request.identifier), code)
        endpoint.answer(address, request, code, diagnostic, max_age)


class _Protected(Pending):
    """A request that came protected, and whose answer is."""

    __slots__ = ("_address", "_context", "_endpoint", "_request", "_sealed")

    def __init__(
        self, endpoint: Endpoint, address: Address, request: wire.Request, context: NodeContext, sealed: Sealed
    ):
        super().__init__()
        self._endpoint, self._address, self._request = endpoint, address, request
        self._context, self._sealed = context, sealed

    def reply(self, code: int, diagnostic: str = "", max_age: int | None = None) -> None:
        """Send the answer, and remember it: it is sealed once, since its nonce is the request's."""
        endpoint, address, request = self._endpoint, self._address, self._request
        content = self._context.seal(self._sealed, bytes((code,)) + wire.ending(diagnostic, max_age))
        kind, identifier = endpoint.heading(request)
        data = wire.protected_reply(kind, identifier, request.token, content)
        endpoint.messages.recent.answer(recent.key(address.peer, request.identifier), data)
        address.port.send(data, address.peer)


class ShortWay:
    """Takes what is simple enough."""

    def __init__(self, gate: Gate, contexts: Contexts):
        self._gate = gate
        self._contexts = contexts
        self.endpoint: Endpoint

    def __call__(self, address: Address, request: wire.Request) -> bool:
        """Take a request, if it is that simple."""
        for number, value in request.options:
            if number == wire.OSCORE:
                return self._protected(address, request, value)
        asked = _asked(request.options)
        if asked is None:
            return False
        pending = _Plain(self.endpoint, address, request)
        self._note(address, request)
        try:
            node = self._gate.plain_node(PROTOCOL, asked.node, address)
        except RefusedError as refusal:
            self._refuse(pending, refusal)
        else:
            self._offer(node, asked, request.payload, pending)
        return True

    def _protected(self, address: Address, request: wire.Request, option: bytes) -> bool:
        found = self._contexts.sealed(option)
        if found is None or len(request.options) != 1:
            return False
        context, sealed = found
        try:
            content = context.open(sealed, request.payload)
        except InvalidTag:
            return False
        inner = wire.options(content, 1) if content and content[0] == wire.POST else None
        asked = _asked(inner[0]) if inner else None
        if inner is None or asked is None or asked.node not in (None, context.node):
            return False
        context.take(sealed)
        pending = _Protected(self.endpoint, address, request, context, sealed)
        self._note(address, request)
        try:
            node = self._gate.admit(PROTOCOL, context.node, address)
        except RefusedError as refusal:
            self._refuse(pending, refusal)
        else:
            self._offer(node, asked, inner[1], pending)
        return True

    def _note(self, address: Address, request: wire.Request) -> None:
        self.endpoint.messages.recent.put(recent.key(address.peer, request.identifier), recent.UNANSWERED)

    def _offer(self, node: str, asked: _Asked, payload: bytes, pending: Pending) -> None:
        try:
            self._gate.offer(node, asked.path, asked.content_format, payload, pending)
        except RefusedError as refusal:
            self._refuse(pending, refusal)

    def _refuse(self, pending: Pending, refusal: RefusedError) -> None:
        self._gate.refused += 1
        pending.reply(refusal.code, refusal.diagnostic)
