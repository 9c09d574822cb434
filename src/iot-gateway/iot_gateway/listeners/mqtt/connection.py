"""A node's connection: let in, read as long as there is room for what it says, and ended in order.

What it publishes is taken by :mod:`~iot_gateway.listeners.mqtt.inbound`; what is the broker's goes there by
:mod:`~iot_gateway.listeners.mqtt.at_broker`.
"""

import asyncio
import logging
import secrets
from typing import Final

from iot_gateway.listeners.mqtt import codes, connecting, entrance
from iot_gateway.listeners.mqtt import properties as props
from iot_gateway.listeners.mqtt.at_broker import AtBroker
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connecting import Connack, Connect
from iot_gateway.listeners.mqtt.hub import PROTOCOL, Hub
from iot_gateway.listeners.mqtt.inbound import Inbound
from iot_gateway.listeners.mqtt.states import Pause, Phase
from iot_gateway.listeners.mqtt.wire import Framer, Packet, ProtocolError, Reader, packet
from iot_gateway.nodes import AdmissionError

logger = logging.getLogger(__name__)

FIRST_PACKET_BYTES: Final = 128 * 1024
"""A CONNECT may have so many: who sends it is not known yet."""
WRITE_HIGH: Final = 64 * 1024
"""Bytes on their way to a client above which it gets no more, and is not read."""
STUCK_SECONDS: Final = 60.0
"""How long a client may read nothing while something waits for it."""
END_SECONDS: Final = 2.0
"""How long the end of a connection waits for the last acknowledgements, and then for the client to take them."""
_PINGRESP: Final = b"\xd0\x00"
_TO_BROKER: Final = frozenset(
    (codes.PUBACK, codes.PUBREC, codes.PUBREL, codes.PUBCOMP, codes.SUBSCRIBE, codes.UNSUBSCRIBE)
)


class NodeConnection(asyncio.Protocol):
    """One client of the listener."""

    __slots__ = (
        "_assigned",
        "_at_broker",
        "_connect",
        "_deferred",
        "_ended",
        "_framer",
        "_hub",
        "_inbound",
        "_key",
        "_last_heard",
        "_loop",
        "_made",
        "_patience",
        "_pauses",
        "_phase",
        "_reason",
        "_stuck_since",
        "_transport",
        "_v5",
        "node",
    )

    _at_broker: AtBroker
    """Made when the client is let in."""
    _inbound: Inbound
    """Made when the client is let in."""

    def __init__(self, hub: Hub):
        self.node = ""
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._framer = Framer(min(FIRST_PACKET_BYTES, hub.options.max_packet_bytes))
        self._phase = Phase.NEW
        self._pauses = Pause(0)
        self._patience = 0.0
        self._made = self._last_heard = self._loop.time()
        self._stuck_since: float | None = None
        self._ended = 0.0
        self._reason: Reason | None = None
        self._connect: Connect | None = None
        self._assigned: str | None = None
        self._key = ""
        self._v5 = False
        self._deferred: tuple[bytes, list[Packet]] | None = None

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of a client; it has to introduce itself within the time allowed."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker what a Protocol gets
        self._transport = transport
        hub = self._hub
        if hub.quiet or len(hub.connections) >= hub.options.max_clients + hub.options.max_clients // 10 + 10:
            # Not even an answer: those who are let in are few enough to be told, those who only connect are not.
            hub.counters.refused += 1
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        hub.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._last_heard = self._loop.time()
        try:
            data, packets = self._framer.feed(data)
            self._take(data, packets)
        except ProtocolError as error:
            self._fail(error)

    def _take(self, data: bytes, packets: list[Packet]) -> None:
        for index, (begin, start, end) in enumerate(packets):
            if self._phase is not Phase.OPEN:
                if self._phase is Phase.NEW:
                    self._introduce(data, begin, start, end)
                elif self._phase is Phase.OPENING:
                    self._deferred = (data, packets[index:])
                    return
                else:
                    return
            elif data[begin] >> 4 == codes.PUBLISH:
                self._inbound.publish(data, begin, start, end)
            else:
                self._control(data, begin, start, end)

    def write(self, data: bytes) -> None:
        """Send to the client; a client that is gone gets nothing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._stuck_since = self._loop.time()
        self.pause(Pause.WRITING, True)
        if self.node:
            self._at_broker.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stuck_since = None
        self.pause(Pause.WRITING, False)
        if self.node:
            self._at_broker.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone: the broker learns it, and publishes its will unless it said goodbye."""
        self._phase = Phase.CLOSED
        self._transport = None
        self._deferred = None
        hub = self._hub
        hub.connections.discard(self)
        if self.node:
            hub.nodes.presence.left(self.node, PROTOCOL)
            self._at_broker.take_no_commands()
            self._at_broker.close()
        if hub.sessions.get(self._key) is self:
            del hub.sessions[self._key]

    def pause(self, why: Pause, paused: bool) -> None:
        """Have the client not read, or read again if nothing else is against it."""
        before = self._pauses
        self._pauses = before | why if paused else before & ~why
        if self._transport is None or self._transport.is_closing() or bool(before) == bool(self._pauses):
            return
        if self._pauses:
            self._transport.pause_reading()
        else:
            self._last_heard = self._loop.time()
            self._transport.resume_reading()

    def pause_intake(self, paused: bool) -> None:
        """Take no payloads, or take them again."""
        if self._phase is Phase.OPEN:
            self.pause(Pause.INTAKE, paused)

    # Letting in

    def _introduce(self, data: bytes, begin: int, start: int, end: int) -> None:
        if data[begin] != codes.CONNECT << 4:
            raise ProtocolError("the first packet is no CONNECT", Reason.PROTOCOL_ERROR)
        try:
            connect = connecting.read(Reader(data, start, end))
        except ProtocolError as error:
            if error.reason is Reason.UNSUPPORTED_VERSION:
                self.write(connecting.refusal(codes.V311, error.reason))
            elif error.reason is Reason.BAD_METHOD:
                self.write(connecting.refusal(codes.V5, error.reason))
            raise
        self._v5 = connect.level == codes.V5
        try:
            node = entrance.admit(self._hub.nodes, connect, self._transport)
        except AdmissionError as error:
            logger.info("%s is not let in: %s", entrance.address(self._transport), error)
            self._refuse(entrance.refusal(error))
            return
        client_id = connect.client_id
        if not client_id:
            if not self._v5 and not connect.clean:
                self._refuse(Reason.CLIENT_ID)
                return
            client_id = self._assigned = f"auto-{secrets.token_hex(8)}"
        # Under the node's name: no node can take over the session of another, or guess that it is there.
        key = f"{node.name}:{client_id}"
        if self._makes_room(node.name, key):
            self._open(connect, node.name, key)

    def _makes_room(self, node: str, key: str) -> bool:
        """Tell whether there is room for a client; one that returns replaces its former connection (section 3.1.4)."""
        hub = self._hub
        if not hub.is_full:
            return True
        if former := hub.sessions.get(key):
            former.end(Reason.TAKEN_OVER)
            return True
        logger.warning("node %s is not let in: %d clients are connected", node, len(hub.sessions))
        self._refuse(Reason.QUOTA)
        return False

    def _open(self, connect: Connect, node: str, key: str) -> None:
        """Connect the client to the broker."""
        hub = self._hub
        self._phase = Phase.OPENING
        self._connect = connect
        self.node = node
        self._key = key
        hub.nodes.presence.arrived(node, PROTOCOL)
        self.pause(Pause.OPENING, True)
        self._inbound = Inbound(hub, self, node, key, self._v5)
        self._at_broker = AtBroker(hub, self, node, connect.for_broker(key, node), self._v5)

    def _refuse(self, reason: Reason) -> None:
        self._hub.counters.refused += 1
        self.write(connecting.refusal(codes.V5 if self._v5 else codes.V311, reason))
        self._close()

    def on_answer(self, answer: Connack) -> None:
        """The broker answered: the client is in, or was refused by it."""
        connect, hub = self._connect, self._hub
        if self._phase is not Phase.OPENING or connect is None:
            return
        self._connect = None
        if self._v5:
            if not answer.code:
                self._inbound.alias_limit = props.number(answer.properties, props.TOPIC_ALIAS_MAXIMUM) or 0
            answer = connecting.for_client(
                answer,
                receive_maximum=hub.options.receive_maximum,
                max_packet_bytes=hub.options.max_packet_bytes,
                assigned=self._assigned,
            )
        if answer.code:
            hub.counters.refused += 1
            self.write(answer.encode(connect.level))
            self._close()
            return
        if connect.clean or not answer.session_present:
            hub.exactly_once.forget(self._key)
        self._at_broker.settle(stays=not connect.leaves_nothing(answer.session_present))
        hub.counters.accepted += 1
        if former := hub.sessions.get(self._key):
            former.end(Reason.TAKEN_OVER)
        hub.sessions[self._key] = self
        self._framer.limit = hub.options.max_packet_bytes
        # Section 3.1.2.10: one and a half times the keep-alive.
        self._patience = 1.5 * connect.keepalive
        self._phase = Phase.OPEN
        self.write(answer.encode(connect.level))
        if answer.session_present:
            # It may have subscribed to its commands before; the broker knows.
            self._at_broker.take_commands()
        self.pause(Pause.INTAKE, hub.paused)
        self.pause(Pause.OPENING, False)
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            try:
                self._take(*deferred)
            except ProtocolError as error:
                self._fail(error)

    # Let in

    @property
    def is_open(self) -> bool:
        """Whether it was let in, and has not begun to end."""
        return self._phase is Phase.OPEN

    def _control(self, data: bytes, begin: int, start: int, end: int) -> None:
        kind = data[begin] >> 4
        if kind == codes.PINGREQ:
            self.write(_PINGRESP)
        elif kind == codes.PUBREL and self._inbound.release(data[start : start + 2]):
            pass
        elif kind in _TO_BROKER:
            if kind == codes.SUBSCRIBE:
                self._at_broker.subscribe(Reader(data, start, end))
            elif kind == codes.UNSUBSCRIBE:
                self._at_broker.unsubscribe(Reader(data, start, end))
            self.pass_on(data[begin:end])
        elif kind == codes.DISCONNECT:
            self._at_broker.say_goodbye(data[begin:end])
            self.end(None)
        else:
            raise ProtocolError(f"a packet of type {kind} from a client", Reason.PROTOCOL_ERROR)

    def pass_on(self, data: bytes) -> None:
        """Send a packet to the broker."""
        self._at_broker.pass_on(data)

    def settled(self, count: int) -> None:
        """So many messages of QoS 2 more are acknowledged."""
        self._inbound.settled(count)

    def on_settled(self) -> None:
        """All that was taken is acknowledged."""
        if self._phase is Phase.ENDING:
            self._close()

    def on_broker_lost(self, reason: Reason | None) -> None:
        """The client has no place at the broker: so does its connection end."""
        if self._phase is Phase.OPENING:
            self._refuse(Reason.UNAVAILABLE)
        else:
            self.end(reason)

    # The end

    def check(self, now: float) -> None:
        """Give up on a client that is silent or does not read."""
        silence = now - self._last_heard
        if self._phase in (Phase.NEW, Phase.OPENING):
            if now - self._made > self._hub.options.connect_timeout:
                self._time_out()
        elif self._phase is Phase.CLOSED:
            if now - self._ended > END_SECONDS and self._transport is not None:
                self._transport.abort()
        elif self._stuck_since is not None:
            if now - self._stuck_since > STUCK_SECONDS:
                self._time_out()
        elif self._phase is Phase.OPEN and self._patience and silence > self._patience and not self._pauses:
            logger.info("node %s was silent for %.0f s", self.node, silence)
            self._hub.counters.timed_out += 1
            self.end(Reason.KEEPALIVE)
        else:
            self._at_broker.check(now)

    def _time_out(self) -> None:
        self._hub.counters.timed_out += 1
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: ProtocolError) -> None:
        self._hub.counters.broken += 1
        if self.node:
            logger.info("node %s broke the protocol: %s", self.node, error)
        else:
            logger.debug("%s broke the protocol: %s", entrance.address(self._transport), error)
        self._reason = error.reason if self._phase is Phase.OPEN else None
        self._close()

    def quiesce(self) -> None:
        """Read no more, for good."""
        self.pause(Pause.QUIET, True)

    def end(self, reason: Reason | None, *, at_once: bool = False) -> None:
        """End the connection once what was taken from it is acknowledged, or now; ``reason`` is for MQTT 5."""
        if self._phase is Phase.OPEN:
            self._reason = reason
        if at_once or self._phase is not Phase.OPEN:
            if at_once or self._phase is not Phase.ENDING:
                self._close()
            return
        self._phase = Phase.ENDING
        self.pause(Pause.ENDING, True)
        if self._inbound.in_flight:
            self._loop.call_later(END_SECONDS, self._close)
        else:
            self._close()

    def _close(self) -> None:
        if self._phase is Phase.CLOSED or self._transport is None:
            return
        if self._v5 and self._reason is not None:
            self.write(packet(codes.DISCONNECT << 4, bytes((self._reason,))))
        self._phase = Phase.CLOSED
        self._ended = self._loop.time()
        self._transport.close()
        if self.node:
            self._at_broker.close()
