"""As much of MQTT 3.1.1 (OASIS, 29 October 2014) as a subscriber at QoS 1 needs.

Why not a library: see docs/adr/0101. References below are to sections of the specification.
"""

import struct
from typing import NamedTuple

CONNACK, PUBLISH, SUBACK, PINGRESP = 2, 3, 9, 13
"""Control packet types that a subscriber gets (section 2.2.1)."""

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
MAX_REMAINING = 268_435_455

CONNECT_ERRORS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it refuses the client identifier",
    3: "it is not ready",
    4: "bad user name or password",
    5: "not authorised",
}
"""Return codes of CONNACK (section 3.2.2.3)."""


class ProtocolError(Exception):
    """The other end does not speak MQTT 3.1.1."""


class Publish(NamedTuple):
    """A PUBLISH packet (section 3.3)."""

    topic: bytes
    payload: bytes
    identifier: bytes | None
    """The packet identifier's two bytes, as they came; None at QoS 0."""
    retained: bool


def remaining_length(length: int) -> bytes:
    """Encode a packet's remaining length (section 2.2.3)."""
    if not 0 <= length <= MAX_REMAINING:
        raise ValueError(f"a packet of {length} bytes")
    encoded = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(encoded)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def connect(client_id: str, username: str, password: str, keepalive: int) -> bytes:
    """Return a CONNECT packet (section 3.1) that asks for a session that outlives the connection."""
    flags = 0xC0  # user name, password; no clean session, no will
    body = _string("MQTT") + bytes((4, flags)) + struct.pack(">H", keepalive)
    body += _string(client_id) + _string(username) + _string(password)
    return b"\x10" + remaining_length(len(body)) + body


def subscribe(identifier: int, topic_filter: str) -> bytes:
    """Return a SUBSCRIBE packet (section 3.8) for one filter at QoS 1."""
    body = struct.pack(">H", identifier) + _string(topic_filter) + b"\x01"
    return b"\x82" + remaining_length(len(body)) + body


def puback(identifiers: list[bytes]) -> bytes:
    """Return a PUBACK packet (section 3.4) for each identifier, in the order in which they came (section 4.6)."""
    return b"\x40\x02" + b"\x40\x02".join(identifiers) if identifiers else b""


def split(data: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Find the whole packets in ``data``.

    Returns:
        For each its first byte, where its content starts and where it ends; and how many bytes they are in all.

    Raises:
        ProtocolError: the length of a packet is malformed.
    """
    packets: list[tuple[int, int, int]] = []
    begin, available = 0, len(data)
    while available - begin >= 2:
        length = data[begin + 1]
        start = begin + 2
        if length & 0x80:
            length &= 0x7F
            for shift in (7, 14, 21):
                if start >= available:
                    return packets, begin
                digit = data[start]
                start += 1
                length |= (digit & 0x7F) << shift
                if not digit & 0x80:
                    break
            else:
                raise ProtocolError("a packet's length has more than four bytes")
        end = start + length
        if end > available:
            break
        packets.append((data[begin], start, end))
        begin = end
    return packets, begin


def publish(first: int, data: bytes, start: int, end: int) -> Publish:
    """Read a PUBLISH packet.

    Raises:
        ProtocolError: it is too short for what it says it holds, or has a QoS that nobody asked for.
    """
    if end - start < 2:
        raise ProtocolError("a PUBLISH without a topic")
    topic_end = start + 2 + (data[start] << 8 | data[start + 1])
    quality = first & 0x06
    payload_start = topic_end + 2 if quality else topic_end
    if payload_start > end:
        raise ProtocolError("a PUBLISH that is too short")
    if quality > 2:
        raise ProtocolError("a PUBLISH with a QoS that was not subscribed")
    identifier = data[topic_end:payload_start] if quality else None
    return Publish(data[start + 2 : topic_end], data[payload_start:end], identifier, bool(first & 1))
