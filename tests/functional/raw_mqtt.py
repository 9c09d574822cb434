"""MQTT 3.1.1 in the few bytes that a test needs to send whatever it likes, quickly."""

import contextlib
import select
import socket
import struct
from collections.abc import Iterable


class RawClient:
    """A client that publishes at QoS 1 and counts acknowledgements."""

    def __init__(self, port: int, user: str, password: str, client_id: str = "raw"):
        self.link = socket.create_connection(("127.0.0.1", port), timeout=30)
        fields = [text.encode() for text in (client_id, user, password)]
        body = b"\x00\x04MQTT\x04\xc2\x00\x00" + b"".join(struct.pack(">H", len(field)) + field for field in fields)
        self.link.sendall(b"\x10" + _length(len(body)) + body)
        answer = self.link.recv(4)
        assert answer == b"\x20\x02\x00\x00", answer
        self.acknowledged = 0
        self._rest = 0

    def flood(self, topic: str, payloads: Iterable[bytes], *, window: int = 500) -> int:
        """Publish payloads, with at most ``window`` unacknowledged; return how many, once all are acknowledged."""
        name = struct.pack(">H", len(topic)) + topic.encode()
        sent = begin = self.acknowledged
        for payload in payloads:
            packet = name + struct.pack(">H", sent % 65535 + 1) + payload
            self.link.sendall(b"\x32" + _length(len(packet)) + packet)
            sent += 1
            self._receive(0)
            while sent - self.acknowledged >= window:
                self._receive(60)
        while self.acknowledged < sent:
            self._receive(60)
        return sent - begin

    def _receive(self, seconds: float) -> None:
        if not select.select([self.link], [], [], seconds)[0]:
            assert not seconds, "nothing is acknowledged"
            return
        data = self.link.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed")
        # Every PUBACK has four bytes.
        self._rest += len(data)
        self.acknowledged += self._rest // 4
        self._rest %= 4

    def vanish(self) -> None:
        """Go without a word."""
        with contextlib.suppress(OSError):
            self.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.link.close()


def _length(count: int) -> bytes:
    encoded = bytearray()
    while True:
        count, low = divmod(count, 128)
        encoded.append(low | (128 if count else 0))
        if not count:
            return bytes(encoded)
