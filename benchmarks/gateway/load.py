"""The load: publishers that flood at QoS 1, and clients that are only connected. A process of its own.

It is lean on purpose: what it costs is taken from the machine that is measured. It speaks MQTT in the few bytes that
it needs, and is no client of the product's.
"""

import contextlib
import multiprocessing
import resource
import selectors
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")
PAYLOAD_BYTES = 150
WINDOW = 500
"""Messages that a publisher has unacknowledged at most."""
PASSWORD = "password"
FIRST = 10_000_000
"""Where counts begin: a SenML number has no leading zeros, and all are to be eight digits long."""
LAST_SECONDS = 30
"""How long the last acknowledgements are waited for."""


@dataclass(frozen=True)
class Target:
    """What is flooded."""

    port: int
    publishers: int
    seconds: float
    window: int = WINDOW


def node(number: int) -> str:
    return f"node-{number:02d}"


def connect(port: int, client_id: str, user: str, keepalive: int = 0) -> socket.socket:
    """Connect with MQTT 3.1.1, user name and password."""
    link = socket.create_connection(("127.0.0.1", port), timeout=30)
    fields = [client_id.encode(), user.encode(), PASSWORD.encode()]
    body = b"\x00\x04MQTT\x04\xc2" + struct.pack(">H", keepalive)
    body += b"".join(struct.pack(">H", len(field)) + field for field in fields)
    link.sendall(bytes((0x10, len(body))) + body)
    answer = link.recv(4)
    if answer != b"\x20\x02\x00\x00":
        raise ConnectionError(f"{client_id} was answered {answer.hex()}")
    return link


def template(name: str) -> bytes:
    """Return a PUBLISH with places for its packet identifier, its time and its count."""
    head = f'[{{"bn":"{name}/","bt":%d.%03d,"n":"temperature","u":"Cel","v":2%d.5,"seq":%08d,"note":"'.encode()
    size = len(head % (int(time.time()), 0, 0, FIRST))
    payload = head + b"." * (PAYLOAD_BYTES - size - 3) + b'"}]'
    topic = f"telemetry/{name}".encode()
    length = 2 + len(topic) + 2 + PAYLOAD_BYTES
    header = bytes((0x32, length & 0x7F | 0x80, length >> 7)) + struct.pack(">H", len(topic)) + topic
    return header.replace(b"%", b"%%") + b"%c%c" + payload


class Publisher:
    """One node that floods."""

    def __init__(self, target: Target, number: int):
        self.link = connect(target.port, node(number), node(number))
        self.link.setblocking(False)
        self.sent = self.acknowledged = 0
        self._window = target.window
        self._template = template(node(number))
        self._rest = 0
        self.unsent = b""

    def receive(self) -> None:
        """Count acknowledgements: every PUBACK has four bytes."""
        received = len(self.link.recv(262_144)) + self._rest
        if received == self._rest:
            raise ConnectionError("the connection was closed")
        self.acknowledged += received // 4
        self._rest = received % 4

    def send(self, more: bool) -> None:
        """Send what the window allows, if there shall be more; else only what is half sent."""
        room = self._window - (self.sent - self.acknowledged)
        # A sender of single messages would spend more on system calls than the receiver on the messages.
        if more and room >= min(50, self._window):
            now = time.time()
            seconds, milliseconds = int(now), int(now % 1 * 1000)
            packets: list[bytes] = []
            for sent in range(self.sent, self.sent + room):
                identifier = sent % 65535 + 1
                packets.append(
                    self._template
                    % (identifier >> 8, identifier & 0xFF, seconds, milliseconds, sent % 10, FIRST + sent)
                )
            self.sent += room
            self.unsent += b"".join(packets)
        if self.unsent:
            with contextlib.suppress(BlockingIOError):
                self.unsent = self.unsent[self.link.send(self.unsent) :]


def flood(target: Target, results: Any) -> None:
    """Flood for the time given, wait for the last acknowledgement, report what was sent and for how long."""
    publishers = [Publisher(target, number) for number in range(target.publishers)]
    selector = selectors.DefaultSelector()
    for publisher in publishers:
        selector.register(publisher.link, selectors.EVENT_READ, publisher)
    begin = time.monotonic()
    end = begin + target.seconds
    for publisher in publishers:
        publisher.send(True)
    while (now := time.monotonic()) < end + LAST_SECONDS:
        for key, _ in selector.select(0.02):
            key.data.receive()
            key.data.send(now < end)
        for publisher in publishers:
            if publisher.unsent:
                publisher.send(False)
        if now >= end and all(publisher.acknowledged == publisher.sent for publisher in publishers):
            break
    results.put(
        {
            "sent": sum(publisher.sent for publisher in publishers),
            "acknowledged": sum(publisher.acknowledged for publisher in publishers),
            "seconds": time.monotonic() - begin,
        }
    )


def hold(port: int, count: int, stop: Any, results: Any) -> None:
    """Connect so many clients, report how many are, and hold them until told to stop; then report again."""
    links: list[socket.socket] = []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        for number in range(count):
            links.append(connect(port, f"idle-{number:05d}", f"idle-{number:05d}"))
    except OSError as error:
        print(f"after {len(links)} clients: {error}", flush=True)
    results.put(len(links))
    stop.wait()
    alive = 0
    for link in links:
        link.sendall(b"\xc0\x00")
        link.settimeout(10)
        alive += link.recv(2) == b"\xd0\x00"
    results.put(alive)


def event() -> Any:
    """Return an event that a load in another process can wait for."""
    return _SPAWN.Event()


def start(function: Callable[..., None], *arguments: Any) -> tuple[Any, Any]:
    """Run a load in a process of its own; return the process and the queue of its results."""
    results = _SPAWN.Queue()
    process = _SPAWN.Process(target=function, args=(*arguments, results), daemon=True)
    process.start()
    return process, results
