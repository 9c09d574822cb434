"""The MQTT listener: a persistent session at a broker on the gateway, one level of the topic naming the node."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from pydantic import Field, SecretStr

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.listeners.mqtt import codec
from iot_gateway.listeners.mqtt.codec import ProtocolError

logger = logging.getLogger(__name__)

_TOPICS_KEPT = 20_000


class MqttOptions(interfaces.Options):
    """Settings of the listener."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65535)
    username: str
    password: SecretStr
    client_id: str = Field(default="iot-gateway", min_length=1, max_length=64)
    """Fixed: under it the broker keeps what comes while the relay is away."""
    topic_prefix: str = Field(default="telemetry", pattern=r"^[^+#\s/]+(/[^+#\s/]+)*$")
    keepalive: int = Field(default=30, ge=5, le=600)
    connect_timeout: float = Field(default=10, gt=0, le=120)


class ListenerError(Exception):
    """The connection could not be made or went away; the text says why."""


class MqttConnection(asyncio.Protocol):
    """One connection to the broker."""

    def __init__(self, options: MqttOptions, intake: interfaces.Intake):
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self._options = options
        self._intake = intake
        self._prefix = options.topic_prefix.encode() + b"/"
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._nodes: dict[bytes, tuple[str, str]] = {}
        self._session_kept = False
        self._paused = self._quiet = False
        self._last_heard = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker what a Protocol gets
        self._transport = transport
        options = self._options
        transport.write(
            codec.connect(options.client_id, options.username, options.password.get_secret_value(), options.keepalive)
        )

    def data_received(self, data: bytes) -> None:
        """Take what the broker sent; payloads go straight to the intake."""
        self._last_heard = asyncio.get_running_loop().time()
        if self._rest:
            data = self._rest + data
        try:
            packets, taken = codec.split(data)
            for first, start, end in packets:
                if first >> 4 == codec.PUBLISH:
                    self._publish(first, data, start, end)
                else:
                    self._control(first, data[start:end])
        except ProtocolError as error:
            self.fail(f"the broker broke the protocol: {error}")
            return
        self._rest = data[taken:]

    def _publish(self, first: int, data: bytes, start: int, end: int) -> None:
        topic, payload, identifier, retained = codec.publish(first, data, start, end)
        if retained and self._session_kept:
            # A new SUBSCRIBE brings every retained message again. The kept session had it when it was published.
            self.acknowledge([identifier] if identifier else [])
            return
        names = self._nodes.get(topic)
        if names is None:
            names = self._name(topic)
        self._intake.offer(self, names[0], names[1], payload, identifier)

    def _name(self, topic: bytes) -> tuple[str, str]:
        """Return the node that a topic names (empty if none) and the topic as text."""
        if len(self._nodes) >= _TOPICS_KEPT:
            self._nodes.clear()
        text = topic.decode(errors="replace")
        node = text[len(self._options.topic_prefix) + 1 :].partition("/")[0] if topic.startswith(self._prefix) else ""
        names = self._nodes[topic] = (node, text)
        return names

    def _control(self, first: int, content: bytes) -> None:
        kind = first >> 4
        if kind == codec.CONNACK:
            if len(content) != 2:
                raise ProtocolError("a malformed CONNACK")
            if content[1]:
                self.fail(f"the broker refused: {codec.CONNECT_ERRORS.get(content[1], content[1])}")
                return
            self._session_kept = bool(content[0] & 1)
            self._write(codec.subscribe(1, self._options.topic_prefix + "/#"))
        elif kind == codec.SUBACK:
            if content[2:3] != b"\x01":
                self.fail(f"the broker refused the subscription to {self._options.topic_prefix}/#")
            elif not self.subscribed.done():
                self.subscribed.set_result(None)
        elif kind != codec.PINGRESP:
            raise ProtocolError(f"a packet of type {kind}")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Send a PUBACK for each; to a connection that is gone nothing is sent: the broker delivers again."""
        self._write(codec.puback(list(tokens)))

    def pause(self) -> None:
        """Stop reading: the broker queues."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and self._paused and not self._quiet and not self._transport.is_closing():
            self._paused = False
            self._last_heard = asyncio.get_running_loop().time()
            self._transport.resume_reading()

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """MQTT 3.1.1 has no way to tell."""
        return token

    def quiesce(self) -> None:
        """Read no more, for good; PUBACKs still go out."""
        self._quiet = True
        self.pause()

    def ping(self) -> None:
        """Keep the connection alive, or give it up if the broker has been silent for two intervals."""
        silence = asyncio.get_running_loop().time() - self._last_heard
        if silence > 2 * self._options.keepalive and not self._paused:
            self.fail(f"the broker was silent for {silence:.0f} s")
        else:
            self._write(codec.PINGREQ)

    def fail(self, reason: str) -> None:
        """Give the connection up."""
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        if not self.closed.done():
            self.closed.set_result(str(exc) if exc else "the broker closed the connection")

    def disconnect(self) -> None:
        """Leave in order; the session stays at the broker."""
        self._write(codec.DISCONNECT)
        if self._transport is not None:
            self._transport.close()


class MqttListener(interfaces.Listener):
    """A connection to the broker that comes back."""

    Options = MqttOptions

    def __init__(self, options: MqttOptions, core: interfaces.Core):
        self.options = self._options = options
        self._intake = core.intake
        self._connected = False
        self._error: str | None = None
        self._connections = 0
        self._connection: MqttConnection | None = None

    async def run(self) -> None:
        """Connect, serve, and connect again."""
        backoff = Backoff(longest=10.0)
        while True:
            try:
                reason = await self._serve(backoff)
            except (OSError, ListenerError) as error:
                reason = str(error) or type(error).__name__
            delay = backoff.next()
            if reason != self._error:
                logger.warning("MQTT: out of reach, again in %.1f s: %s", delay, reason)
            self._error = reason
            await asyncio.sleep(delay)

    async def _serve(self, backoff: Backoff) -> str:
        """Hold one connection until it breaks; return why it did."""
        options = self._options
        connection: MqttConnection | None = None
        try:
            async with asyncio.timeout(options.connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: MqttConnection(options, self._intake), options.host, options.port
                )
                await asyncio.wait((connection.subscribed, connection.closed), return_when=asyncio.FIRST_COMPLETED)
            if connection.closed.done():
                return connection.closed.result()
            logger.info("MQTT: subscribed to %s/# at %s:%d", options.topic_prefix, options.host, options.port)
            self._connected, self._error = True, None
            self._connections += 1
            self._connection = connection
            backoff.reset()
            while not connection.closed.done():
                await asyncio.wait((connection.closed,), timeout=options.keepalive / 2)
                connection.ping()
            return connection.closed.result()
        except TimeoutError as error:
            raise ListenerError(f"no answer from {options.host}:{options.port}") from error
        finally:
            self._connected = False
            self._connection = None
            if connection is not None:
                connection.disconnect()

    def quiesce(self) -> None:
        """Read no more from the broker; what it delivers after this stays its own to deliver again."""
        if self._connection is not None:
            self._connection.quiesce()

    def status(self) -> dict[str, Any]:
        """Return ``connected``, ``error``, ``connections`` (since the start)."""
        return {"connected": self._connected, "error": self._error, "connections": self._connections}
