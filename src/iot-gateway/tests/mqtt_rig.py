"""A site's broker of a few lines, a client that sends bytes, and a listener between them."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from listener_rig import ListenerRig, SilentChain, free_port

from iot_gateway.desk import Book, Desk
from iot_gateway.interfaces import Core, Source
from iot_gateway.listeners.mqtt import MqttListener, MqttOptions, wire
from iot_gateway.nodes import Node, Nodes, credentials

SECRET = credentials.make("secret")


def string(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def connect(
    level: int = 4,
    client_id: str = "c",
    username: str | None = "node-1",
    password: str | None = "secret",
    *,
    clean: bool = True,
    keepalive: int = 0,
    properties: bytes = b"",
    will: bytes = b"",
    name: str = "MQTT",
    flags: int | None = None,
) -> bytes:
    chosen = (0x02 if clean else 0) | (0x04 if will else 0)
    chosen |= (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    body = string(name) + bytes((level, chosen if flags is None else flags)) + struct.pack(">H", keepalive)
    if level == 5:
        body += wire.variable(len(properties)) + properties
    body += string(client_id) + will
    body += b"".join(string(field) for field in (username, password) if field is not None)
    return wire.packet(0x10, body)


def publish(
    topic: str, payload: bytes, identifier: int = 0, *, qos: int = 1, v5: bool = False, flags: int = 0, own: bytes = b""
) -> bytes:
    body = string(topic) + (struct.pack(">H", identifier) if qos else b"")
    if v5:
        body += wire.variable(len(own)) + own
    return wire.packet(0x30 | qos << 1 | flags, body + payload)


class Broker:
    """Answers each CONNECT, notes all packets, and sends what a test says."""

    def __init__(self, path: Path):
        self.path = path
        self.packets: list[bytes] = []
        self.connects: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.present = False
        self.code = 0
        self.properties = b"\x22\x00\x0a\x13\xff\xff\x21\x00\x14"
        self.ended = 0
        self.mute = False
        self.puback: int | None = None
        """The reason code with which it acknowledges what is published at QoS 1; None for not at all."""

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = wire.Framer(wire.MAX_REMAINING)
        level = 4
        try:
            while data := await reader.read(65536):
                data, packets = framer.feed(data)
                for begin, start, end in packets:
                    kind = data[begin] >> 4
                    if kind == 1:
                        level = data[start + 6]
                        self.connects.append(data[begin:end])
                        self.writers.append(writer)
                        if self.mute:
                            continue
                        body = bytes((self.present, self.code))
                        if level == 5:
                            body += wire.variable(len(self.properties)) + self.properties
                        writer.write(wire.packet(0x20, body))
                    else:
                        self.packets.append(data[begin:end])
                        if kind == 3 and data[begin] & 2 and self.puback is not None:
                            at = start + 2 + int.from_bytes(data[start : start + 2], "big")
                            writer.write(b"\x40\x03" + data[at : at + 2] + bytes((self.puback,)))
                        if kind == 8:
                            writer.write(wire.packet(0x90, data[start : start + 2] + (b"\0" * (level == 5)) + b"\x01"))
        except ConnectionError:
            pass
        finally:
            self.ended += 1
            writer.close()

    def connect_of(self, client: str) -> bytes:
        (found,) = [each for each in self.connects if client.encode() in each]
        return found

    def writer_of(self, client: str) -> asyncio.StreamWriter:
        return self.writers[[client.encode() in each for each in self.connects].index(True)]


class NotingIntake:
    """Notes payloads; a test acknowledges them."""

    def __init__(self) -> None:
        self.offered: list[tuple[Source, str, str, bytes, Any]] = []
        self.automatic = True
        self.buried: list[tuple[str, bytes, str]] = []

    def offer(self, source: Source, node: str, topic: str, payload: bytes, token: Any) -> bool:
        good = not payload.startswith(b"bad")
        if not good and token is not None:
            token = source.refused(token, "bad")
        self.offered.append((source, node, topic, payload, token))
        if self.automatic and token is not None:
            asyncio.get_running_loop().call_soon(source.acknowledge, [token])
        return good

    def bury(self, source: Source, topic: str, payload: bytes, reason: str, token: Any) -> None:
        self.buried.append((topic, payload, reason))
        if token is not None:
            source.acknowledge([source.refused(token, reason)])

    def acknowledge(self) -> None:
        for source, *_, token in self.offered:
            if token is not None:
                source.acknowledge([token])
        self.offered.clear()

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, _, _, payload, _ in self.offered]


class Client:
    """A client that sends bytes and reads packets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def packet(self) -> bytes:
        async with asyncio.timeout(5):
            head = await self.reader.readexactly(2)
            return head + await self.reader.readexactly(head[1])

    async def closed(self) -> bytes:
        """Return what still comes before the end."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def hello(self, packet: bytes) -> bytes:
        self.send(packet)
        return await self.packet()


class Rig(ListenerRig):
    def __init__(self, directory: Path, **options: Any):
        self.directory = directory
        self.broker = Broker(directory / "broker.sock")
        self.intake = NotingIntake()
        self.nodes = Nodes(
            {
                "node-1": Node("node-1", SECRET),
                "node-2": Node("node-2", SECRET),
                "coap": Node("coap", SECRET, protocols=frozenset({"coap"})),
            }
        )
        self.desk = Desk(Book(directory / "commands.db"), SilentChain())
        self.settings = {"port": 0, "broker": self.broker.path, **options}
        self.clients: list[Client] = []
        self.make()

    def make(self) -> None:
        # Port 0 means no listener in the settings; the kernel's choice is asked for behind their back.
        self.listener = MqttListener(
            MqttOptions(**{**self.settings, "port": free_port()}),
            Core(self.intake, self.nodes, self.desk, self.directory),
        )

    @property
    def hub(self) -> Any:
        return self.listener._hub

    async def __aenter__(self) -> "Rig":
        await self.broker.start()
        await self.start()
        return self

    @property
    def is_up(self) -> bool:
        return super().is_up and bool(self.listener._ports._servers)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for client in self.clients:
            client.writer.close()
        await self.broker.stop()
        await asyncio.sleep(0.01)

    async def client(self) -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self.listener.options.port))
        self.clients.append(made)
        return made

    async def node(self, **fields: Any) -> Client:
        """Return a client that was let in."""
        made = await self.client()
        answer = await made.hello(connect(**fields))
        assert answer[3] == 0, answer
        return made


def run(directory: Path, test: Callable[[Rig], Awaitable[None]], **options: Any) -> None:
    async def inside() -> None:
        async with Rig(directory, **options) as rig:
            await test(rig)

    asyncio.run(inside())


__all__: Sequence[str] = ("Broker", "Client", "NotingIntake", "Rig", "connect", "publish", "run", "string")
