"""A gateway in a thread: as much of MQTT 5 as a publisher at QoS 1 meets, with faults on demand."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_node.config import Config

CONNECT, CONNACK, PUBLISH, PUBACK, PINGREQ = 1, 2, 3, 4, 12
NOT_AUTHORIZED = 0x87


class FakeGateway:
    """Answers on ``port``; what it took is in ``received``, as (topic, payload)."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.connections = 0
        self.refuse_connections = False
        self.refuse_packs = 0
        """How many packs to refuse from now on."""
        self.drop_after: int | None = None
        """Close the connection, once, in the place of an acknowledgement after so many packs."""
        self.silent = False
        """Take packs and say nothing."""
        self.receive_maximum: int | None = None
        self.subscribed: list[str] = []
        self.refuse_subscriptions = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._clients.append(client)
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, contextlib.suppress(OSError):  # the node may be gone first
            while header := stream.read(1):
                length, shift = 0, 0
                while True:
                    (byte,) = stream.read(1)
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                if not self._answer(client, header[0], stream.read(length)):
                    client.shutdown(socket.SHUT_RDWR)
                    return

    def _answer(self, client: socket.socket, first: int, body: bytes) -> bool:
        """Answer one packet; return whether the connection stays."""
        match first >> 4:
            case 1:
                self.connections += 1
                if self.refuse_connections:
                    client.sendall(bytes([CONNACK << 4, 3, 0, NOT_AUTHORIZED, 0]))
                    return False
                properties = b"" if self.receive_maximum is None else b"\x21" + struct.pack("!H", self.receive_maximum)
                client.sendall(bytes([CONNACK << 4, 3 + len(properties), 0, 0, len(properties)]) + properties)
            case 3:
                (size,) = struct.unpack_from("!H", body)
                topic = body[2 : 2 + size].decode()
                (identifier,) = struct.unpack_from("!H", body, 2 + size)
                payload = body[2 + size + 2 + 1 :]  # no properties
                reason = NOT_AUTHORIZED if self.refuse_packs else 0
                if self.drop_after is not None and len(self.received) >= self.drop_after:
                    self.drop_after = None
                    return False
                self.refuse_packs = max(0, self.refuse_packs - 1)
                if not reason:
                    self.received.append((topic, payload))
                if not self.silent:
                    client.sendall(bytes([PUBACK << 4, 4]) + struct.pack("!H", identifier) + bytes([reason, 0]))
            case 8:
                (size,) = struct.unpack_from("!H", body, 3)  # no properties, one filter
                self.subscribed.append(body[5 : 5 + size].decode())
                code = NOT_AUTHORIZED if self.refuse_subscriptions else 1
                client.sendall(bytes([0x90, 4]) + body[:2] + bytes([0, code]))
            case 4:
                pass  # the acknowledgement of a command
            case 12:
                client.sendall(bytes([13 << 4, 0]))
            case _:
                return False
        return True

    def command(self, topic: str, content: object) -> None:
        """Send a command to the client that came last."""
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        body = struct.pack("!H", len(topic)) + topic.encode() + b"\x00\x07\x00" + payload
        assert len(body) < 16384
        self._clients[-1].sendall(bytes([0x32, len(body) & 0x7F | 0x80, len(body) >> 7]) + body)

    def close(self) -> None:
        if self._server.fileno() == -1:
            return
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    yield fake
    fake.close()


@pytest.fixture
def config_file(tmp_path: Path, gateway: FakeGateway) -> Path:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"username": "node-1", "password": "hunter2"}))
    credentials.chmod(0o600)
    (tmp_path / "state").mkdir()
    path = tmp_path / "config.toml"
    path.write_text(
        f"""node = "node-1"
interval = 0.1
state_directory = "{tmp_path}/state"

[gateway]
host = "127.0.0.1"
port = {gateway.port}
credentials_file = "{credentials}"
"""
    )
    return path


@pytest.fixture
def config(config_file: Path) -> Config:
    return Config.read(config_file)
