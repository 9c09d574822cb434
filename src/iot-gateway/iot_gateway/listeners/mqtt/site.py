"""The relay's own connection to the site's broker.

It carries commands and each topic's last value there, and takes from there what reaches telemetry topics without
passing the listener: the wills of nodes, and what an operator's own clients of the broker publish.
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from iot_gateway.backoff import Backoff
from iot_gateway.listeners.mqtt import codes, connecting, publishing
from iot_gateway.listeners.mqtt import properties as props
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connecting import Connect
from iot_gateway.listeners.mqtt.hub import Hub
from iot_gateway.listeners.mqtt.wire import MAX_REMAINING, Framer, ProtocolError, Reader, packet, string

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 1.0
"""A topic's value goes to the broker once in this time at most."""
FLUSH_TOPICS: Final = 5_000
"""So many topics at most at a time: it bounds what last values can cost."""
PING_SECONDS: Final = 30.0
MOST_UNACKNOWLEDGED: Final = 100
"""Commands that the broker may have on their way; what it allows, if that is less."""
_PINGREQ: Final = b"\xc0\x00"
_SUBSCRIBING: Final = 1
"""The packet identifier of the SUBSCRIBE."""
_SUBSCRIPTION: Final = 0x01 | 0x04 | 0x20
"""QoS 1; not what this connection publishes itself; no retained messages (section 3.8.3.1)."""


class BrokerError(Exception):
    """The broker refused, or broke the protocol; the text says how."""


class SiteConnection(asyncio.Protocol):
    """One connection to the broker, in MQTT 5."""

    def __init__(self, hub: Hub):
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self.heard = loop.time()
        self._hub = hub
        self._framer = Framer(MAX_REMAINING)
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._room = asyncio.Semaphore(0)
        self._identifier = 0
        self._unacknowledged: dict[bytes, asyncio.Future[int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves, with a session that outlives the connection: a will may be published meanwhile."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker what a Protocol gets
        self._transport = transport
        user = self._hub.options.broker_user
        own = props.write(
            [
                (props.SESSION_EXPIRY, b"\xff\xff\xff\xff"),
                (props.RECEIVE_MAXIMUM, struct.pack(">H", self._hub.options.receive_maximum)),
            ]
        )
        transport.write(Connect(codes.V5, 0, 0, own, "", b"", None, None).for_broker(user, user))

    def data_received(self, data: bytes) -> None:
        """Take what the broker sent."""
        self.heard = asyncio.get_running_loop().time()
        try:
            data, packets = self._framer.feed(data)
            for begin, start, end in packets:
                if data[begin] >> 4 == codes.PUBLISH:
                    self._publish(data[begin], data, start, end)
                else:
                    self._control(data[begin] >> 4, Reader(data, start, end))
        except (ProtocolError, BrokerError) as error:
            self.fail(str(error))

    def _control(self, kind: int, reader: Reader) -> None:
        if kind == codes.CONNACK:
            answer = connecting.read_answer(reader, codes.V5)
            if answer.code:
                raise BrokerError(f"the broker refuses the relay: code {answer.code:#x}")
            maximum = props.number(answer.properties, props.RECEIVE_MAXIMUM) or 0xFFFF
            self._room = asyncio.Semaphore(min(maximum, MOST_UNACKNOWLEDGED))
            topics = string(self._hub.options.topic_prefix + "/#")
            body = struct.pack(">H", _SUBSCRIBING) + b"\x00" + topics + bytes((_SUBSCRIPTION,))
            self.write(packet(codes.SUBSCRIBE << 4 | 2, body))
        elif kind == codes.SUBACK:
            if reader.take(reader.left)[-1] >= Reason.UNSPECIFIED:
                raise BrokerError(f"the broker refuses the subscription to {self._hub.options.topic_prefix}/#")
            if not self.subscribed.done():
                self.subscribed.set_result(None)
        elif kind == codes.PUBACK:
            waiting = self._unacknowledged.pop(reader.take(2), None)
            if waiting is not None:
                self._room.release()
                if not waiting.done():
                    waiting.set_result(reader.byte() if reader.left else Reason.NORMAL)
        elif kind == codes.DISCONNECT:
            raise BrokerError("the broker ended the connection")
        elif kind != codes.PINGRESP:
            raise BrokerError(f"the broker sent a packet of type {kind}")

    def _publish(self, first: int, data: bytes, start: int, end: int) -> None:
        topic, payload, identifier, _ = publishing.read(first, data, start, end, v5=True)
        token = publishing.PUBACK + identifier if identifier else None
        name = topic.decode(errors="replace")
        if payload:
            node = name[len(self._hub.options.topic_prefix) + 1 :].partition("/")[0]
            self._hub.intake.offer(self, node, name, payload, token)
        elif token:
            # A retained message was taken away: no reading, and nobody's fault.
            self.acknowledge([token])

    def write(self, data: bytes) -> None:
        """Send to the broker."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def publish(self, topic: str, payload: bytes, seconds: float) -> int:
        """Publish at QoS 1; see :class:`iot_gateway.listeners.mqtt.courier.SiteBroker`."""
        await self._room.acquire()
        if self.closed.done():
            self._room.release()
            raise ConnectionError(self.closed.result())
        # Until the broker acknowledges it, whoever waits for that: only then may it be sent another (section 4.9).
        waiting = self._unacknowledged[self._next_identifier()] = asyncio.get_running_loop().create_future()
        self.write(publishing.lasting(topic, payload, self._identifier, seconds))
        return await waiting

    def _next_identifier(self) -> bytes:
        """Return a packet identifier that is not in use, the number of which is kept."""
        while True:
            self._identifier = max(_SUBSCRIBING + 1, (self._identifier + 1) & 0xFFFF)
            identifier = struct.pack(">H", self._identifier)
            if identifier not in self._unacknowledged:
                return identifier

    def flush(self) -> None:
        """Send last values, unless the broker does not keep up with them."""
        if not self._full and (values := self._hub.values.take(FLUSH_TOPICS)):
            self.write(b"".join([publishing.retained(topic, payload) for topic, payload in values]))

    def pause_writing(self) -> None:
        """The broker does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """The broker keeps up again."""
        self._full = False

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Tell the broker what is stored."""
        self.write(b"".join(tokens))

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Nobody is there to be told: a will's node is gone."""
        return token

    def pause(self) -> None:
        """Take no more payloads."""
        if self._transport is not None:
            self._transport.pause_reading()
        self._hub.pause(True)

    def resume(self) -> None:
        """Go on taking payloads."""
        if self._transport is not None and not self._transport.is_closing() and not self._hub.quiet:
            self._transport.resume_reading()
        self._hub.pause(False)

    def quiesce(self) -> None:
        """Take no more payloads, for good."""
        if self._transport is not None:
            self._transport.pause_reading()

    def fail(self, reason: str) -> None:
        """Give the connection up."""
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(str(exc) if exc else "the broker closed the connection")
        for waiting in self._unacknowledged.values():
            self._room.release()
            if not waiting.done():
                waiting.set_exception(ConnectionError(self.closed.result()))
        self._unacknowledged.clear()

    def close(self) -> None:
        """Leave in order; the session stays."""
        self.write(packet(codes.DISCONNECT << 4, b""))
        if self._transport is not None:
            self._transport.close()


class SiteLink:
    """A connection to the broker that comes back."""

    def __init__(self, hub: Hub):
        self.connected = False
        self.error: str | None = None
        self.on_connected: Callable[[], None] = lambda: None
        self._hub = hub
        self._connection: SiteConnection | None = None

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled."""
        backoff = Backoff(first=0.2, longest=5.0)
        while True:
            try:
                reason = await self._serve(backoff)
            except (OSError, BrokerError) as error:
                reason = str(error) or type(error).__name__
            delay = backoff.next()
            if reason != self.error:
                logger.warning("the site's broker is out of reach, again in %.1f s: %s", delay, reason)
            self.error = reason
            await asyncio.sleep(delay)

    async def _serve(self, backoff: Backoff) -> str:
        """Hold one connection until it breaks; return why it did."""
        options = self._hub.options
        connection: SiteConnection | None = None
        try:
            async with asyncio.timeout(options.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_unix_connection(
                    lambda: SiteConnection(self._hub), str(options.broker)
                )
                await asyncio.wait((connection.subscribed, connection.closed), return_when=asyncio.FIRST_COMPLETED)
            if connection.closed.done():
                return connection.closed.result()
            logger.info("connected to the site's broker at %s", options.broker)
            self.connected, self.error = True, None
            self._connection = connection
            self.on_connected()
            if self._hub.quiet:
                connection.quiesce()
            backoff.reset()
            await self._hold(connection)
            return connection.closed.result()
        except TimeoutError as error:
            raise BrokerError(f"no answer from {options.broker}") from error
        finally:
            self.connected = False
            self._connection = None
            if connection is not None:
                connection.close()

    async def _hold(self, connection: SiteConnection) -> None:
        loop = asyncio.get_running_loop()
        pinged: float | None = None
        due = loop.time() + PING_SECONDS
        while not connection.closed.done():
            await asyncio.wait((connection.closed,), timeout=FLUSH_SECONDS)
            connection.flush()
            now = loop.time()
            if now > due:
                listening = not self._hub.paused and not self._hub.quiet
                if pinged is not None and pinged > connection.heard and listening:
                    connection.fail(f"the broker was silent for {now - connection.heard:.0f} s")
                connection.write(_PINGREQ)
                pinged, due = now, now + PING_SECONDS

    async def publish(self, topic: str, payload: bytes, seconds: float) -> int:
        """Publish at QoS 1; see :class:`iot_gateway.listeners.mqtt.courier.SiteBroker`."""
        if self._connection is None:
            raise ConnectionError("the site's broker is out of reach")
        return await self._connection.publish(topic, payload, seconds)

    def quiesce(self) -> None:
        """Take no more payloads from the broker; what it delivers after this stays its own to deliver again."""
        if self._connection is not None:
            self._connection.quiesce()
