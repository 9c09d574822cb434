"""A node's connection: telemetry is taken here, everything else passes between the node and the site's broker."""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from enum import Enum, IntFlag
from typing import Any, Final

from iot_gateway.desk import CommandError
from iot_gateway.interfaces import Source
from iot_gateway.listeners.mqtt import codes, connecting, publishing, subscribing, tls
from iot_gateway.listeners.mqtt import properties as props
from iot_gateway.listeners.mqtt.backend import Backend
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connecting import Connack, Connect
from iot_gateway.listeners.mqtt.courier import matches
from iot_gateway.listeners.mqtt.exactly_once import Token
from iot_gateway.listeners.mqtt.hub import PROTOCOL, Hub
from iot_gateway.listeners.mqtt.wire import Framer, Packet, ProtocolError, Reader, packet
from iot_gateway.nodes import (
    AdmissionError,
    Node,
    NotAllowedError,
    TooManyAttemptsError,
)

logger = logging.getLogger(__name__)

FIRST_PACKET_BYTES: Final = 128 * 1024
"""A CONNECT may have so many: who sends it is not known yet."""
WRITE_HIGH: Final = 64 * 1024
"""Bytes on their way to a client above which it gets no more, and is not read."""
STUCK_SECONDS: Final = 60.0
"""How long a client may read nothing while something waits for it."""
END_SECONDS: Final = 2.0
"""How long the end of a connection waits for the last acknowledgements, and then for the client to take them."""
PING_BROKER_SECONDS: Final = 6 * 3600.0
TOPICS_KEPT: Final = 64
_FORBIDDEN: Final = "-"
_PASSED: Final = ""
_REPORT: Final = "?"
_PINGRESP: Final = b"\xd0\x00"
_TO_BROKER: Final = frozenset(
    (codes.PUBACK, codes.PUBREC, codes.PUBREL, codes.PUBCOMP, codes.SUBSCRIBE, codes.UNSUBSCRIBE)
)


class _Phase(Enum):
    NEW = 0
    """Nothing came yet."""
    OPENING = 1
    """The broker has the CONNECT."""
    OPEN = 2
    ENDING = 3
    """Nothing more is read; the last acknowledgements are waited for."""
    CLOSED = 4


class _Pause(IntFlag):
    """Why a client is not read."""

    OPENING = 1
    INTAKE = 2
    UNACKNOWLEDGED = 4
    WRITING = 8
    BACKEND = 16
    QUIET = 32
    ENDING = 64


_REFUSALS: Final[dict[type[AdmissionError], Reason]] = {
    NotAllowedError: Reason.NOT_AUTHORISED,
    TooManyAttemptsError: Reason.RATE,
}


class NodeConnection(asyncio.Protocol):
    """One client of the listener; the source of its payloads of QoS 0 and 1."""

    __slots__ = (
        "_alias_limit",
        "_aliases",
        "_assigned",
        "_backend",
        "_connect",
        "_deferred",
        "_ended",
        "_for_broker",
        "_framer",
        "_hub",
        "_in_flight",
        "_key",
        "_last_heard",
        "_loop",
        "_made",
        "_opening",
        "_patience",
        "_pauses",
        "_phase",
        "_pinged",
        "_prefix",
        "_queued",
        "_reason",
        "_stuck_since",
        "_subscribing",
        "_takes",
        "_topics",
        "_transport",
        "_v5",
        "node",
    )

    def __init__(self, hub: Hub):
        self.node = ""
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._backend: Backend | None = None
        self._opening: asyncio.Task[None] | None = None
        self._framer = Framer(min(FIRST_PACKET_BYTES, hub.options.max_packet_bytes))
        self._phase = _Phase.NEW
        self._pauses = _Pause(0)
        self._patience = 0.0
        self._made = self._last_heard = self._pinged = self._loop.time()
        self._stuck_since: float | None = None
        self._ended = 0.0
        self._reason: Reason | None = None
        self._connect: Connect | None = None
        self._assigned: str | None = None
        self._key = self._prefix = ""
        self._v5 = False
        self._in_flight = 0
        self._topics: dict[bytes, str] = {}
        self._aliases: dict[int, bytes] = {}
        self._alias_limit = 0
        self._deferred: tuple[bytes, list[Packet]] | None = None
        self._for_broker = b""
        """What introduces the client to the broker, as long as it may have to be."""
        self._queued: list[bytes] = []
        """What waits for the broker's answer to that."""
        # Nothing of their own for the thousands of connections that take no commands.
        self._takes: frozenset[str] = frozenset()
        """Topic filters that cover the node's commands."""
        self._subscribing: dict[bytes, list[str]] | None = None
        """Of each SUBSCRIBE under way the filters; empty in the place of those that do not."""

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
            if self._phase is not _Phase.OPEN:
                if self._phase is _Phase.NEW:
                    self._introduce(data, begin, start, end)
                elif self._phase is _Phase.OPENING:
                    self._deferred = (data, packets[index:])
                    return
                else:
                    return
            elif data[begin] >> 4 == codes.PUBLISH:
                self._publish(data, begin, start, end)
            else:
                self._control(data, begin, start, end)

    def write(self, data: bytes) -> None:
        """Send to the client; a client that is gone gets nothing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._stuck_since = self._loop.time()
        self._pause(_Pause.WRITING, True)
        if self._backend is not None:
            self._backend.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stuck_since = None
        self._pause(_Pause.WRITING, False)
        if self._backend is not None:
            self._backend.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone: the broker learns it, and publishes its will unless it said goodbye."""
        self._phase = _Phase.CLOSED
        self._transport = None
        self._deferred = None
        hub = self._hub
        hub.connections.discard(self)
        if self.node:
            hub.nodes.presence.left(self.node, PROTOCOL)
            hub.commands.leaves(self.node, self)
        if hub.sessions.get(self._key) is self:
            del hub.sessions[self._key]
        if self._opening is not None:
            self._opening.cancel()
        self._drop_backend()

    def _pause(self, why: _Pause, paused: bool) -> None:
        before = self._pauses
        self._pauses = before | why if paused else before & ~why
        if self._transport is None or self._transport.is_closing() or bool(before) == bool(self._pauses):
            return
        if self._pauses:
            self._transport.pause_reading()
        else:
            self._last_heard = self._loop.time()
            self._transport.resume_reading()

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
        hub = self._hub
        self._v5 = connect.level == codes.V5
        try:
            node = self._admit(connect)
        except AdmissionError as error:
            logger.info("%s is not let in: %s", self._address(), error)
            self._refuse(connect.level, _REFUSALS.get(type(error), Reason.BAD_CREDENTIAL))
            return
        if len(hub.sessions) >= hub.options.max_clients or len(hub.connections) + hub.backends >= hub.max_files:
            logger.warning("node %s is not let in: %d clients are connected", node.name, len(hub.sessions))
            self._refuse(connect.level, Reason.QUOTA)
            return
        client_id = connect.client_id
        if not client_id:
            if not self._v5 and not connect.clean:
                self._refuse(connect.level, Reason.CLIENT_ID)
                return
            client_id = self._assigned = f"auto-{secrets.token_hex(8)}"
        self._phase = _Phase.OPENING
        self._connect = connect
        self.node = node.name
        hub.nodes.presence.arrived(node.name, PROTOCOL)
        # Under the node's name: no node can take over the session of another, or guess that it is there.
        self._key = f"{node.name}:{client_id}"
        self._prefix = f"{hub.options.topic_prefix}/{node.name}"
        self._pause(_Pause.OPENING, True)
        self._for_broker = connect.for_broker(self._key, node.name)
        self._opening = self._loop.create_task(self._open())

    def _admit(self, connect: Connect) -> Node:
        """Let the node in that the certificate or the password is of.

        Raises:
            AdmissionError: there is none.
        """
        transport = self._transport
        common_name = tls.common_name(transport.get_extra_info("peercert")) if transport else None
        nodes = self._hub.nodes
        if common_name is None:
            return nodes.admit(PROTOCOL, connect.username or "", self._address(), connect.password or b"")
        certified = nodes.certified(common_name)
        if connect.username not in (None, "", certified):
            raise NotAllowedError(f"{connect.username!r} shows the certificate of {certified!r}")
        return nodes.admit(PROTOCOL, certified, self._address())

    def _address(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return str(peer[0]) if peer else "unknown"

    def _refuse(self, level: int, reason: Reason) -> None:
        self._hub.counters.refused += 1
        self.write(connecting.refusal(level, reason))
        self._close()

    async def _open(self) -> None:
        """Connect the client to the broker."""
        hub = self._hub
        level = codes.V5 if self._v5 else codes.V311
        try:
            async with asyncio.timeout(hub.options.connect_timeout):
                _, self._backend = await self._loop.create_unix_connection(
                    lambda: Backend(self, level, self._for_broker), str(hub.options.broker)
                )
            hub.backends += 1
        except (OSError, TimeoutError):
            # The link to the broker reports the fault, once for all clients.
            if self._phase is _Phase.OPENING:
                self._refuse(level, Reason.UNAVAILABLE)
            else:
                self.end(Reason.UNAVAILABLE)

    def _drop_backend(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            self._hub.backends -= 1
            backend.close()

    def _detach(self) -> None:
        """Have no connection to the broker until there is something to pass on: most nodes never have anything.

        The broker has begun the client's new session, and has nothing to keep for it: no will, no subscription.
        """
        if self._backend is not None:
            self._backend.leave()
            self._backend = None
            self._hub.backends -= 1

    def _attach(self) -> None:
        """Connect to the broker again; meanwhile nothing is read."""
        self._pause(_Pause.OPENING, True)
        self._opening = self._loop.create_task(self._open())

    def _on_attached(self, answer: Connack) -> None:
        self._opening = None
        if answer.code:
            self.end(Reason.UNAVAILABLE)
            return
        self._for_broker = b""
        queued, self._queued = self._queued, []
        if self._backend is not None:
            self._backend.write(b"".join(queued))
        self._pause(_Pause.OPENING, False)

    def on_answer(self, answer: Connack) -> None:
        """The broker answered: the client is in, or was refused by it."""
        connect, hub = self._connect, self._hub
        if self._phase is _Phase.OPEN:
            self._on_attached(answer)
            return
        if self._phase is not _Phase.OPENING or connect is None:
            return
        self._connect = None
        self._opening = None
        if self._v5:
            if not answer.code:
                self._alias_limit = props.number(answer.properties, props.TOPIC_ALIAS_MAXIMUM) or 0
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
        if connect.leaves_nothing(answer.session_present):
            self._detach()
        else:
            self._for_broker = b""
        hub.counters.accepted += 1
        if former := hub.sessions.get(self._key):
            former.end(Reason.TAKEN_OVER)
        hub.sessions[self._key] = self
        self._framer.limit = hub.options.max_packet_bytes
        # Section 3.1.2.10: one and a half times the keep-alive.
        self._patience = 1.5 * connect.keepalive
        self._phase = _Phase.OPEN
        self.write(answer.encode(connect.level))
        if answer.session_present:
            # It may have subscribed to its commands before; the broker knows.
            hub.commands.takes(self.node, self)
        self._pause(_Pause.INTAKE, hub.paused)
        self._pause(_Pause.OPENING, False)
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            try:
                self._take(*deferred)
            except ProtocolError as error:
                self._fail(error)

    # Packets

    def _publish(self, data: bytes, begin: int, start: int, end: int) -> None:
        first = data[begin]
        topic, payload, identifier, alias = publishing.read(first, data, start, end, self._v5)
        if alias:
            topic = self._unalias(alias, topic)
        name = self._topics.get(topic)
        if name is None:
            name = self._classify(topic)
        if name is _PASSED or (not payload and first & publishing.RETAIN):
            # An empty retained message takes the topic's last value away, which is the broker's.
            self._pass_on(data[begin:end])
        elif name is _FORBIDDEN:
            self._forbid(first, identifier)
        elif name is _REPORT:
            self._report(first, payload, identifier)
        elif first & publishing.EXACTLY_ONCE:
            self._publish_once(name, payload, identifier)
        else:
            token = None
            if identifier:
                token = publishing.PUBACK + identifier
                self._in_flight += 1
                if self._in_flight > self._hub.options.receive_maximum:
                    self._too_many()
            hub = self._hub
            if hub.intake.offer(self, self.node, name, payload, token) and hub.options.last_values:
                hub.values.note(name, payload)

    def _publish_once(self, name: str, payload: bytes, identifier: bytes) -> None:
        hub = self._hub
        token = self._begin_once(identifier)
        if token is None:
            return
        if hub.intake.offer(hub.exactly_once, self.node, name, payload, token) and hub.options.last_values:
            hub.values.note(name, payload)

    def _begin_once(self, identifier: bytes) -> Token | None:
        """Return what a message of QoS 2 is to be acknowledged with; None for one that is known."""
        hub = self._hub
        token = hub.exactly_once.begin(self._key, identifier, self._v5, hub.options.receive_maximum)
        if token is not None:
            self._in_flight += 1
        return token

    def _report(self, first: int, payload: bytes, identifier: bytes) -> None:
        """Take what the node says of a command; it is acknowledged once it is in the desk's book."""
        hub = self._hub
        hub.counters.reports += 1
        source: Source = self
        token: Any = None
        if first & publishing.EXACTLY_ONCE:
            source, token = hub.exactly_once, self._begin_once(identifier)
            if token is None:
                return
        elif identifier:
            token = publishing.PUBACK + identifier
            self._in_flight += 1
            if self._in_flight > hub.options.receive_maximum:
                self._too_many()
        elif hub.commands.hearing > hub.options.receive_maximum:
            return  # QoS 0 promises nothing
        try:
            hub.commands.hear(self.node, payload, lambda: None if token is None else source.acknowledge([token]))
        except CommandError as error:
            hub.intake.bury(source, f"{hub.options.commands_prefix}/{self.node}/state", payload, str(error), token)

    def _too_many(self) -> None:
        if self._v5:
            raise ProtocolError("more messages than it may have unacknowledged", Reason.RECEIVE_MAXIMUM)
        # MQTT 3.1.1 knows no such bound: what comes after it waits in the network.
        self._pause(_Pause.UNACKNOWLEDGED, True)

    def _unalias(self, alias: int, topic: bytes) -> bytes:
        if alias > self._alias_limit:
            raise ProtocolError(f"topic alias {alias}, at most {self._alias_limit}", Reason.TOPIC_ALIAS)
        if topic:
            self._aliases[alias] = topic
            return topic
        try:
            return self._aliases[alias]
        except KeyError:
            raise ProtocolError(f"topic alias {alias} means nothing yet", Reason.PROTOCOL_ERROR) from None

    def _classify(self, topic: bytes) -> str:
        """Return a telemetry topic of this node as text; another mark for all others.

        On the topics of commands a node may say what becomes of its own, and give none.
        """
        name = publishing.topic_name(topic)
        prefix = self._prefix
        if name == prefix or name.startswith(prefix + "/"):
            found = name
        elif name == f"{self._commands}/state":
            found = _REPORT
        else:
            options = self._hub.options
            found = (
                _FORBIDDEN if name.startswith((f"{options.topic_prefix}/", f"{options.commands_prefix}/")) else _PASSED
            )
        if len(self._topics) >= TOPICS_KEPT:
            self._topics.clear()
        self._topics[topic] = found
        return found

    @property
    def _commands(self) -> str:
        """The topic of the node's commands."""
        return f"{self._hub.options.commands_prefix}/{self.node}"

    def _forbid(self, first: int, identifier: bytes) -> None:
        """Refuse a message on another node's topic; MQTT 3.1.1 has no way to say so (section 3.3.5)."""
        self._hub.counters.forbidden += 1
        if identifier:
            kind = publishing.PUBREC if first & publishing.EXACTLY_ONCE else publishing.PUBACK
            self.write(publishing.negative(kind, identifier, Reason.NOT_AUTHORISED) if self._v5 else kind + identifier)

    def _control(self, data: bytes, begin: int, start: int, end: int) -> None:
        kind = data[begin] >> 4
        if kind == codes.PINGREQ:
            self.write(_PINGRESP)
        elif kind == codes.PUBREL and self._hub.exactly_once.holds(self._key, data[start : start + 2]):
            self._hub.exactly_once.release(self._key, data[start : start + 2])
        elif kind in _TO_BROKER:
            if kind == codes.SUBSCRIBE:
                self._subscribe(Reader(data, start, end))
            elif kind == codes.UNSUBSCRIBE:
                self._unsubscribe(Reader(data, start, end))
            self._pass_on(data[begin:end])
        elif kind == codes.DISCONNECT:
            if self._backend is not None:
                self._pass_on(data[begin:end])
            self.end(None)
        else:
            raise ProtocolError(f"a packet of type {kind} from a client", Reason.PROTOCOL_ERROR)

    def _subscribe(self, reader: Reader) -> None:
        identifier, filters = subscribing.filters(reader, self._v5, options=True)
        topic = self._commands
        found = [each if matches(each, topic) else "" for each in filters]
        if any(found):
            self._subscribing = {**(self._subscribing or {}), identifier: found}

    def _unsubscribe(self, reader: Reader) -> None:
        _, filters = subscribing.filters(reader, self._v5, options=False)
        topic = self._commands
        if any(matches(each, topic) for each in filters):
            self._takes = self._takes.difference(filters)
            if not self._takes:
                self._hub.commands.leaves(self.node, self)

    @property
    def watching(self) -> bool:
        """Whether the broker has been asked for a subscription to commands."""
        return bool(self._subscribing)

    def on_subscribed(self, answer: Reader) -> None:
        """The broker has answered a SUBSCRIBE, and the client has the answer."""
        identifier, granted = subscribing.granted(answer, self._v5)
        filters = (self._subscribing or {}).pop(identifier, [])
        takes = {each for each, is_granted in zip(filters, granted, strict=False) if each and is_granted}
        if takes and self._phase is _Phase.OPEN:
            self._takes |= takes
            self._hub.commands.takes(self.node, self)

    def _pass_on(self, data: bytes) -> None:
        self._hub.counters.passed += 1
        if self._backend is not None and not self._for_broker:
            self._backend.write(data)
        elif self._phase is _Phase.OPEN:
            self._queued.append(data)
            if self._opening is None:
                self._attach()

    # What the intake says

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Send the acknowledgements; a client that is gone sends its messages again."""
        self.write(b"".join(tokens))
        self.settled(len(tokens))

    def settled(self, count: int) -> None:
        """So many messages more are acknowledged."""
        self._in_flight = max(0, self._in_flight - count)
        if self._pauses & _Pause.UNACKNOWLEDGED and self._in_flight <= self._hub.options.receive_maximum // 2:
            self._pause(_Pause.UNACKNOWLEDGED, False)
        if self._phase is _Phase.ENDING and not self._in_flight:
            self._close()

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Tell the client of a payload that is no reading, if it speaks MQTT 5."""
        return publishing.negative(publishing.PUBACK, token[2:], Reason.PAYLOAD) if self._v5 else token

    def pause(self) -> None:
        """Have nobody read."""
        self._hub.pause(True)

    def resume(self) -> None:
        """Have everybody read."""
        self._hub.pause(False)

    def pause_intake(self, paused: bool) -> None:
        """Take no payloads, or take them again."""
        if self._phase is _Phase.OPEN:
            self._pause(_Pause.INTAKE, paused)

    # What the broker says

    def from_broker(self, data: bytes) -> None:
        """Pass packets on to the client."""
        self.write(data)

    def on_backend_full(self, full: bool) -> None:
        """The broker does not keep up, or does again."""
        self._pause(_Pause.BACKEND, full)

    def on_backend_lost(self) -> None:
        """The broker ended the session, or is gone: so does the client's connection end.

        What the broker knew of the client (its subscriptions, its will) can't be kept for it here; a client that
        connects again sets it up anew, or learns that its session is there.
        """
        self._drop_backend()
        if self._phase is _Phase.OPENING:
            self._refuse(codes.V5 if self._v5 else codes.V311, Reason.UNAVAILABLE)
        else:
            self.end(None)

    # The end

    def check(self, now: float) -> None:
        """Give up on a client that is silent or does not read."""
        silence = now - self._last_heard
        if self._phase in (_Phase.NEW, _Phase.OPENING):
            if now - self._made > self._hub.options.connect_timeout:
                self._time_out()
        elif self._phase is _Phase.CLOSED:
            if now - self._ended > END_SECONDS and self._transport is not None:
                self._transport.abort()
        elif self._stuck_since is not None:
            if now - self._stuck_since > STUCK_SECONDS:
                self._time_out()
        elif self._phase is _Phase.OPEN and self._patience and silence > self._patience and not self._pauses:
            logger.info("node %s was silent for %.0f s", self.node, silence)
            self._hub.counters.timed_out += 1
            self.end(Reason.KEEPALIVE)
        elif self._backend is not None and now - self._pinged > PING_BROKER_SECONDS:
            self._pinged = now
            self._backend.ping()

    def _time_out(self) -> None:
        self._hub.counters.timed_out += 1
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: ProtocolError) -> None:
        self._hub.counters.broken += 1
        if self.node:
            logger.info("node %s broke the protocol: %s", self.node, error)
        else:
            logger.debug("%s broke the protocol: %s", self._address(), error)
        self._reason = error.reason if self._phase is _Phase.OPEN else None
        self._close()

    def quiesce(self) -> None:
        """Read no more, for good."""
        self._pause(_Pause.QUIET, True)

    def end(self, reason: Reason | None, *, at_once: bool = False) -> None:
        """End the connection once what was taken from it is acknowledged, or now; ``reason`` is for MQTT 5."""
        if self._phase is _Phase.OPEN:
            self._reason = reason
        if at_once or self._phase is not _Phase.OPEN:
            if at_once or self._phase is not _Phase.ENDING:
                self._close()
            return
        self._phase = _Phase.ENDING
        self._pause(_Pause.ENDING, True)
        if self._in_flight:
            self._loop.call_later(END_SECONDS, self._close)
        else:
            self._close()

    def _close(self) -> None:
        if self._phase is _Phase.CLOSED or self._transport is None:
            return
        if self._v5 and self._reason is not None:
            self.write(packet(codes.DISCONNECT << 4, bytes((self._reason,))))
        self._phase = _Phase.CLOSED
        self._ended = self._loop.time()
        self._transport.close()
        self._drop_backend()
