"""A client's connection to the site's broker, through which all passes that is no telemetry."""

import asyncio
from typing import Protocol

from iot_gateway.listeners.mqtt import codes, connecting
from iot_gateway.listeners.mqtt.connecting import Connack
from iot_gateway.listeners.mqtt.wire import MAX_REMAINING, Framer, ProtocolError, Reader

WRITE_HIGH = 256 * 1024
"""Bytes on their way to the broker above which the client is not read."""


class Client(Protocol):
    """Whom the broker speaks to through the backend."""

    @property
    def watching(self) -> bool:
        """Whether it is told of answers to its SUBSCRIBEs."""
        ...

    def on_answer(self, answer: Connack) -> None:
        """The broker answered the CONNECT."""
        ...

    def from_broker(self, data: bytes) -> None:
        """Whole packets for the client."""
        ...

    def on_subscribed(self, answer: Reader) -> None:
        """The broker answered a SUBSCRIBE that is watched for; the answer has been passed on."""
        ...

    def on_backend_full(self, full: bool) -> None:
        """The broker does not keep up, or does again."""
        ...

    def on_backend_lost(self) -> None:
        """The broker closed the connection, or is gone."""
        ...


class Backend(asyncio.Protocol):
    """One connection to the broker."""

    __slots__ = ("_answered", "_client", "_connect", "_framer", "_level", "_pings", "_transport")

    def __init__(self, client: Client, level: int, connect: bytes):
        self._client: Client | None = client
        self._level = level
        self._connect = connect
        self._framer = Framer(MAX_REMAINING)
        self._transport: asyncio.Transport | None = None
        self._answered = False
        self._pings = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the client."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker what a Protocol gets
        self._transport = transport
        if self._client is None:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        transport.write(self._connect)
        self._connect = b""

    def data_received(self, data: bytes) -> None:
        """Pass whole packets on: the listener writes to the client as well, and packets must not mingle."""
        try:
            data, packets = self._framer.feed(data)
            if packets and not self._answered:
                first = packets.pop(0)
                if data[first.begin] >> 4 != codes.CONNACK:
                    raise ProtocolError("no CONNACK")
                self._answered = True
                answer = connecting.read_answer(Reader(data, first.start, first.end), self._level)
                if self._client is not None:
                    self._client.on_answer(answer)
        except ProtocolError:
            self._lose()
            return
        client = self._client
        if not packets or client is None:
            return
        if not self._pings and not client.watching:
            client.from_broker(data[packets[0].begin : packets[-1].end])
            return
        for begin, start, end in packets:
            kind = data[begin] >> 4
            if self._client is not client:
                return
            if self._pings and kind == codes.PINGRESP:
                self._pings -= 1
                continue
            client.from_broker(data[begin:end])
            if kind == codes.SUBACK and client.watching:
                try:
                    client.on_subscribed(Reader(data, start, end))
                except ProtocolError:
                    self._lose()

    def ping(self) -> None:
        """Tell the broker that the client is there; the answer is not passed on.

        Its pings are answered by the listener, and mosquitto 2.0 gives up on an idle client after 27 hours even where
        the CONNECT asked for no keep-alive.
        """
        self._pings += 1
        self.write(b"\xc0\x00")

    def write(self, data: bytes) -> None:
        """Send packets to the broker."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """The client does not read: the broker is to queue."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The broker does not keep up."""
        if self._client is not None:
            self._client.on_backend_full(True)

    def resume_writing(self) -> None:
        """The broker keeps up again."""
        if self._client is not None:
            self._client.on_backend_full(False)

    def leave(self) -> None:
        """End the connection with a goodbye."""
        self.write(b"\xe0\x00")
        self.close()

    def close(self) -> None:
        """End the connection; unless a DISCONNECT went before, the broker then publishes the client's will."""
        self._client = None
        if self._transport is not None:
            self._transport.close()

    def _lose(self) -> None:
        client, self._client = self._client, None
        if self._transport is not None:
            self._transport.abort()
        if client is not None:
            client.on_backend_lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Tell the client."""
        self._lose()
