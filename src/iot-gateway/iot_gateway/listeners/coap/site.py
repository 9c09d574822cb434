"""What can be asked of the gateway: the long way of a request, through aiocoap."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# aiocoap is only partly typed.

import asyncio
from typing import Any, Final, Protocol

from aiocoap import interfaces
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.contentformat import ContentFormat
from aiocoap.transports.oscore import OSCOREAddress

from iot_gateway.listeners.coap import wire
from iot_gateway.listeners.coap.address import Address
from iot_gateway.listeners.coap.blocks import Blocks, Progress
from iot_gateway.listeners.coap.storing import Pending
from iot_gateway.listeners.coap.telemetry import PATH, PROTOCOL, Gate, RefusedError

_CRITICAL: Final = frozenset({3, 7, 11, 15, 17, 23, 27})
"""Options with odd numbers that are understood: Uri-Host, Uri-Port, Uri-Path, Uri-Query, Accept, Block2, Block1."""
_PROGRESS: Final = {
    Progress.CONTINUE: Code.CONTINUE,
    Progress.INCOMPLETE: Code.REQUEST_ENTITY_INCOMPLETE,
    Progress.TOO_LARGE: Code.REQUEST_ENTITY_TOO_LARGE,
}
_LINKS: Final = '</telemetry>;rt="telemetry";ct="0 50 110 112"'


class Peer:
    """Who asks."""

    def __init__(self, gate: Gate, remote: Any):
        self.remote = remote
        """Where an answer, or a request of the gateway's own, goes to: through OSCORE if the request came so."""
        self._gate = gate

    @property
    def address(self) -> Address:
        """The address on the network."""
        return self.remote.underlying_address if isinstance(self.remote, OSCOREAddress) else self.remote

    @property
    def proven(self) -> str | None:
        """The node whose key it has; None if it has none."""
        return self.remote.security_context.node if isinstance(self.remote, OSCOREAddress) else None

    def admit(self, protocol: str, claimed: str | None) -> str:
        """Return the node's name.

        Args:
            protocol: by which it comes.
            claimed: the name that it gives, if any.

        Raises:
            RefusedError: it is not let in, or is another one.
        """
        proven = self.proven
        if proven is None:
            return self._gate.plain_node(protocol, claimed, self.address)
        if claimed is not None and claimed != proven:
            raise RefusedError(wire.UNAUTHORIZED, "the key is another node's")
        return self._gate.admit(protocol, proven, self.address)


class Part(Protocol):
    """A part of the site, with paths of its own."""

    links: str
    """What it offers, in link format (RFC 6690)."""

    async def render(self, peer: Peer, request: Any, payload: bytes) -> Message:
        """Answer a request, whose payload is whole.

        Raises:
            RefusedError: it is not taken.
        """
        ...


class Waiting(Pending):
    """A request that a coroutine waits with."""

    __slots__ = ("_answer",)

    def __init__(self):
        super().__init__()
        self._answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def reply(self, code: int, diagnostic: str = "", max_age: int | None = None) -> None:
        """Have it answered."""
        if not self._answer.done():
            self._answer.set_result(message(code, diagnostic, max_age))

    async def answer(self) -> Message:
        """Wait for the answer."""
        return await self._answer


def message(code: int, diagnostic: str = "", max_age: int | None = None) -> Message:
    """Return an answer."""
    made: Any = Message(code=Code(code), payload=diagnostic.encode())
    if max_age is not None:
        made.opt.max_age = max_age
    return made


class Site(interfaces.Resource):
    """The root of all that can be asked for."""

    def __init__(self, gate: Gate):
        super().__init__()
        self.parts: dict[str, Part] = {}
        """By the first level of their paths."""
        self.blocks = Blocks()
        self._gate = gate

    async def needs_blockwise_assembly(self, request: Any) -> Any:  # noqa: ARG002
        """Tell aiocoap that blocks are put together here."""
        return False

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer a request."""
        answer = await self.render(pipe.request)
        answer.opt.no_response = pipe.request.opt.no_response
        pipe.add_response(answer, is_last=True)

    async def render(self, request: Any) -> Any:
        """Return the answer to a request."""
        try:
            answer = await self._render(request)
        except RefusedError as refusal:
            self._gate.refused += 1
            answer = message(refusal.code, refusal.diagnostic)
        if request.opt.block1 is not None and answer.code != Code.REQUEST_ENTITY_TOO_LARGE:
            # There it would ask for smaller blocks, and the node would go on (RFC 7959, section 2.9.3).
            answer.opt.block1 = request.opt.block1
        return answer

    async def _render(self, request: Any) -> Message:
        for option in request.opt.option_list():
            if int(option.number) & 1 and int(option.number) not in _CRITICAL:
                return message(Code.BAD_OPTION, f"option {int(option.number)}")
        path = request.opt.uri_path
        if path == (".well-known", "core"):
            return self._core(request)
        first = path[0] if path else ""
        part = self.parts.get(first)
        if part is None and first != PATH:
            raise RefusedError(wire.NOT_FOUND)
        payload = request.payload
        block = request.opt.block1
        peer = Peer(self._gate, request.remote)
        if block is not None:
            if peer.proven is None and not self._gate.options.allow_plain:
                raise RefusedError(wire.UNAUTHORIZED, "OSCORE is required")
            whole = (
                request.remote.blockwise_key,
                request.code,
                path,
                request.opt.uri_query,
                request.opt.content_format,
            )
            gathered = self.blocks.add(whole, block.start, block.more, payload, self._gate.options.max_payload)
            if isinstance(gathered, Progress):
                answer: Any = message(_PROGRESS[gathered])
                if gathered is Progress.TOO_LARGE:
                    answer.opt.size1 = self._gate.options.max_payload
                return answer
            payload = gathered
        if part is not None:
            return await part.render(peer, request, payload)
        return await self._telemetry(peer, request, payload)

    async def _telemetry(self, peer: Peer, request: Any, payload: bytes) -> Message:
        if request.code is not Code.POST:
            return message(Code.METHOD_NOT_ALLOWED)
        node = peer.admit(PROTOCOL, queries(request).get("node"))
        pending = Waiting()
        self._gate.offer(node, list(request.opt.uri_path[1:]), content_format(request), payload, pending)
        return await pending.answer()

    def _core(self, request: Any) -> Message:
        if request.code is not Code.GET:
            return message(Code.METHOD_NOT_ALLOWED)
        answer: Any = message(Code.CONTENT, ",".join((_LINKS, *(part.links for part in set(self.parts.values())))))
        answer.opt.content_format = ContentFormat.LINKFORMAT
        return answer


def queries(request: Any) -> dict[str, str]:
    """Return what stands behind the question mark, by name."""
    return {name: value for name, _, value in (query.partition("=") for query in request.opt.uri_query)}


def content_format(request: Any) -> int | None:
    """Return the number of the payload's format."""
    given = request.opt.content_format
    return None if given is None else int(given)
