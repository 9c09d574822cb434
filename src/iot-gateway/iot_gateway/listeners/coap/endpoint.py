"""The UDP sockets, and aiocoap on top of them.

Two ways lead from a datagram to its answer. Plain telemetry in one datagram, by far the most of what comes, takes a
short one (:mod:`iot_gateway.listeners.coap.short_way`); all else goes through aiocoap: blocks, LwM2M, what is unusual.
Both share one memory of what came lately, which is bounded; aiocoap's own is not.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportPrivateUsage=false
# aiocoap is only partly typed, and two of its methods are replaced that it does not call public.

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

from aiocoap import error, interfaces
from aiocoap.message import Direction, Message
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.types import ACK, CON, RST
from aiocoap.protocol import Context
from aiocoap.tokenmanager import TokenManager

from iot_gateway.listeners.coap import recent, wire
from iot_gateway.listeners.coap.address import Address, Port

logger = logging.getLogger(__name__)

MAX_DATAGRAM: Final = 65535
BURST: Final = 64
"""Datagrams that are read before other work has its turn."""
BUFFER: Final = 2**20
"""Bytes of datagrams that the kernel keeps while the loop is busy."""
MOST_HELD: Final = 4096

Quick = Callable[[Address, wire.Request], bool]
"""Takes a request by the short way, and tells whether it did."""


class Messages(MessageManager):
    """aiocoap's message layer (RFC 7252, section 4), with a bounded memory, and with notifications acknowledged late.

    A confirmable notification is acknowledged once what it says is on disk (:meth:`acknowledge`), and so a node sends
    it again if the gateway dies in between.
    """

    def __init__(self, tokens: Any):
        super().__init__(tokens)
        self.recent = recent.Recent()
        self.on_stray: Callable[[Any], None] = _nothing
        """Called with the address of who sent a notification that nothing is known of."""
        self._held: dict[tuple[Any, int], None] = {}

    def dispatch_message(self, message: Any) -> None:
        """Take a message off the transport."""
        if message.mtype is not CON or not message.code.is_response():
            super().dispatch_message(message)
            return
        held = message.remote, message.mid
        if held in self._held:
            return
        if self.recent.get(recent.key(message.remote.peer, message.mid)) is not None:
            self._send_empty_ack(*held, "repeated")
            return
        # Before it is passed on: it may be stored, or not be storable, at once.
        self._held[held] = None
        if not self.token_manager.process_response(message):
            del self._held[held]
            reset: Any = Message(_mtype=RST, _mid=message.mid, code=0)
            reset.remote = message.remote
            self._send_initially(reset)
            self.on_stray(message.remote)
        elif message.opt.observe is None:
            self.acknowledge(*held)
        elif len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]

    def acknowledge(self, address: Any, identifier: int) -> None:
        """Acknowledge a notification, if it waits for that."""
        if (address, identifier) in self._held:
            del self._held[address, identifier]
            self.recent.put(recent.key(address.peer, identifier), recent.UNANSWERED)
            self._send_empty_ack(address, identifier, "stored")

    def release(self, address: Any, identifier: int) -> None:
        """Forget a notification that could not be stored: when it comes again it is a new one."""
        self._held.pop((address, identifier), None)

    def _deduplicate_message(self, message: Any) -> bool:
        key = recent.key(message.remote.peer, message.mid)
        answer = self.recent.get(key)
        if answer is None:
            self.recent.put(key, recent.UNANSWERED)
            return False
        if answer is not recent.UNANSWERED and message.mtype is CON:
            if isinstance(answer, int):
                answer = wire.reply(wire.ACKNOWLEDGEMENT, answer, message.mid, message.token)
            message.remote.port.send(answer, message.remote.peer)
        return True

    def _store_response_for_duplicates(self, message: Any) -> None:
        # Others bear message IDs of the gateway's own, which say nothing of what came.
        if message.mtype in (ACK, RST):
            self.recent.answer(recent.key(message.remote.peer, message.mid), message.encode())


class Endpoint(interfaces.MessageInterface):
    """The sockets, read in the event loop."""

    def __init__(self, quick: Quick):
        self.malformed = 0
        """Datagrams that are no CoAP."""
        self._quick = quick
        self._ports: list[Port] = []
        self._reading = False

    def open(self, addresses: list[str], port: int, site: interfaces.Resource) -> None:
        """Bind, and read what comes.

        Raises:
            OSError: an address can't be bound.
        """
        self._loop = asyncio.get_running_loop()
        try:
            for address in dict.fromkeys(addresses):
                self._ports.append(Port(_bind(address, port)))
        except OSError:
            self._close()
            raise
        self.context: Any = Context(self._loop, site, "coap")
        tokens: Any = TokenManager(self.context)
        self.messages: Any = Messages(tokens)
        self.messages.message_interface = self
        tokens.token_interface = self.messages
        self.context.request_interfaces.append(tokens)
        for bound in self._ports:
            self._loop.add_reader(bound.socket, self._read, bound)
        self._reading = True

    @property
    def ports(self) -> list[Port]:
        """The sockets; none before they are bound."""
        return self._ports

    def quiesce(self) -> None:
        """Read no more; answers still go out."""
        if self._reading:
            self._reading = False
            for bound in self._ports:
                self._loop.remove_reader(bound.socket)

    def _close(self) -> None:
        self.quiesce()
        for bound in self._ports:
            bound.socket.close()
        self._ports = []

    def _read(self, bound: Port) -> None:
        for _ in range(BURST):
            try:
                data, peer = bound.socket.recvfrom(MAX_DATAGRAM)
            except OSError:
                return  # nothing is left; or an error that some earlier datagram met
            try:
                self.received(Address(bound, peer), data)
            except Exception:
                # The outermost loop: a datagram that nobody foresaw must not end the listener.
                logger.exception("a datagram from %s is dropped", peer)

    def received(self, address: Address, data: bytes) -> None:
        """Take a datagram."""
        request = wire.read(data)
        if request is None:
            self.malformed += 1
            return
        if request.code == wire.POST and request.kind <= wire.NON_CONFIRMABLE:
            key = recent.key(address.peer, request.identifier)
            answer = self.messages.recent.get(key)
            if answer is None:
                if self._quick(address, request):
                    return
            elif isinstance(answer, int):
                self.again(address, request, answer)
                return
        try:
            message = Message.decode(data, address)
        except (error.UnparsableMessage, ValueError):
            self.malformed += 1
            return
        message.direction = Direction.INCOMING
        self.messages.dispatch_message(message)

    def again(self, address: Address, request: wire.Request, code: int) -> None:
        """Answer a request that was answered before."""
        if request.kind == wire.CONFIRMABLE and code != recent.UNANSWERED:
            self.answer(address, request, code)

    def answer(self, address: Address, request: wire.Request, code: int, *more: Any) -> None:
        """Answer a request that took the short way; ``more`` as in :func:`iot_gateway.listeners.coap.wire.reply`."""
        kind, identifier = self.heading(request)
        address.port.send(wire.reply(kind, code, identifier, request.token, *more), address.peer)

    def heading(self, request: wire.Request) -> tuple[int, int]:
        """Return the type and the message ID of an answer."""
        if request.kind == wire.CONFIRMABLE:
            return wire.ACKNOWLEDGEMENT, request.identifier
        # Message IDs of the two ways are drawn from one counter, or a node might take one for a repetition.
        return wire.NON_CONFIRMABLE, self.messages._next_message_id()

    # What aiocoap asks of a transport

    def send(self, message: Any) -> None:
        """Send a message."""
        message.remote.port.send(message.encode(), message.remote.peer)

    async def recognize_remote(self, remote: Any) -> bool:
        """Tell whether an address is one of this transport's."""
        return isinstance(remote, Address)

    async def determine_remote(self, message: Any) -> None:
        """Return no address: the gateway speaks to nodes that spoke to it, and to nobody else."""

    async def shutdown(self) -> None:
        """Close the sockets; see :meth:`close`."""
        self._close()

    async def close(self) -> None:
        """End what is under way, and close the sockets."""
        if self._ports:
            self.quiesce()
            # What was taken in this round of the loop begins in the next one; aiocoap can't end it before.
            await asyncio.sleep(0)
            await self.context.shutdown()


def _nothing(_address: Any) -> None:
    pass


def _bind(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
