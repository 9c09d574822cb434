"""What is made of a NameNode's answers; that a real one understands the question is tested with a real one."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from iot_charm.flume.lease import LeaseError, recover

Serve = Callable[[bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer one connection with these bytes; returns the port."""
    servers: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        return server.getsockname()[1]

    yield start
    for thread in threads:
        thread.join(5)
    for server in servers:
        server.close()


def framed(*messages: bytes) -> bytes:
    body = b"".join(bytes([len(message)]) + message for message in messages)
    return len(body).to_bytes(4, "big") + body


def text(field: int, value: str) -> bytes:
    return bytes([field << 3 | 2, len(value)]) + value.encode()


SUCCESS = bytes([1 << 3, 0, 2 << 3, 0])
FAILURE = bytes([1 << 3, 0, 2 << 3, 1])


@pytest.mark.parametrize(("body", "closed"), [(bytes([8, 1]), True), (bytes([8, 0]), False), (b"", False)])
def test_answers(serve: Serve, body: bytes, closed: bool):
    assert recover("127.0.0.1", serve(framed(SUCCESS, body)), "/f", user="flume") is closed


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            framed(FAILURE + text(4, "java.io.E") + text(5, "File does not exist: /f\n\tat x")),
            "/f: File does not exist",
        ),
        (framed(FAILURE + text(4, "java.io.E")), "/f: java.io.E"),
        (framed(FAILURE), "/f: the NameNode refused"),
        (b"HTTP/1.1 400 Bad Request", "does not speak Hadoop's RPC"),
        (framed(SUCCESS), "does not speak Hadoop's RPC"),
        ((4).to_bytes(4, "big") + b"\x09abc", "does not speak Hadoop's RPC"),
        (framed(bytes([1 << 3 | 5, 0, 0, 0, 0])), "does not speak Hadoop's RPC"),
        (b"", "does not answer"),
    ],
    ids=["exception", "bare exception", "no reason", "http", "no body", "cut off", "odd field", "closed"],
)
def test_failures_say_why(serve: Serve, answer: bytes, message: str):
    with pytest.raises(LeaseError, match=message):
        recover("127.0.0.1", serve(answer), "/f", user="flume")


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(LeaseError, match=f"NameNode 127.0.0.1:{port} does not answer"):
        recover("127.0.0.1", port, "/f", user="flume")
