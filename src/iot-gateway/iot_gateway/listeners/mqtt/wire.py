"""The wire format: packets out of a stream, and the types that packets are made of (MQTT 5.0, section 1.5 and 2.1).

Why not a library: see docs/adr/0104.
"""

import struct
from typing import NamedTuple

from iot_gateway.listeners.mqtt.codes import Reason

MAX_REMAINING = 268_435_455


class ProtocolError(Exception):
    """The other end broke the protocol; ``reason`` is what MQTT 5 lets one tell it."""

    def __init__(self, text: str, reason: Reason = Reason.MALFORMED):
        super().__init__(text)
        self.reason = reason


class Packet(NamedTuple):
    """Where a packet lies in the bytes that a :class:`Framer` returned."""

    begin: int
    start: int
    """Of the content, behind the fixed header."""
    end: int


class Framer:
    """Cuts a stream into whole packets; keeps of the last one what has come of it."""

    __slots__ = ("_needed", "_rest", "limit")

    def __init__(self, limit: int):
        self.limit = limit
        """Bytes that a packet may have."""
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> tuple[bytes, list[Packet]]:
        """Take what was received.

        Returns:
            Bytes, and the whole packets in them. Bytes behind the last packet are kept for the next call.

        Raises:
            ProtocolError: a packet's length is malformed or above the limit.
        """
        if self._rest:
            # Joined once a packet is whole, not at every piece of it: a sender of single bytes must not cost more.
            self._rest += data
            if len(self._rest) < self._needed:
                return b"", []
            data = bytes(self._rest)
            self._rest.clear()
        packets: list[Packet] = []
        begin, available = 0, len(data)
        needed = 2
        while available - begin >= 2:
            length = data[begin + 1]
            start = begin + 2
            if length & 0x80:
                found = _long_length(data, start, available, length & 0x7F)
                if found is None:
                    needed = available - begin + 1
                    break
                length, start = found
            end = start + length
            if end - begin > self.limit:
                raise ProtocolError(f"a packet of {end - begin} bytes", Reason.PACKET_TOO_LARGE)
            if end > available:
                needed = end - begin
                break
            packets.append(Packet(begin, start, end))
            begin = end
        if begin < available:
            self._rest += data[begin:]
            self._needed = needed
        return data, packets


def _long_length(data: bytes, start: int, available: int, length: int) -> tuple[int, int] | None:
    for shift in (7, 14, 21):
        if start >= available:
            return None
        digit = data[start]
        start += 1
        length |= (digit & 0x7F) << shift
        if not digit & 0x80:
            return length, start
    raise ProtocolError("a packet's length has more than four bytes")


def variable(number: int) -> bytes:
    """Encode a variable byte integer (section 1.5.5).

    Raises:
        ValueError: it is negative or too large.
    """
    if not 0 <= number <= MAX_REMAINING:
        raise ValueError(f"{number} can't be a variable byte integer")
    encoded = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def string(text: str) -> bytes:
    """Encode a string (section 1.5.4)."""
    return binary(text.encode())


def binary(data: bytes) -> bytes:
    """Encode binary data (section 1.5.6)."""
    return struct.pack(">H", len(data)) + data


def packet(first: int, body: bytes) -> bytes:
    """Put a fixed header before a body."""
    return bytes((first,)) + variable(len(body)) + body


class Reader:
    """Reads the fields of a packet one after another; none goes beyond its end."""

    __slots__ = ("_end", "data", "position")

    def __init__(self, data: bytes, start: int, end: int):
        self.data = data
        self.position = start
        self._end = end

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return self._end - self.position

    def take(self, count: int) -> bytes:
        """Read ``count`` bytes.

        Raises:
            ProtocolError: the packet has fewer; so for all that follow.
        """
        begin, self.position = self.position, self.position + count
        if self.position > self._end:
            raise ProtocolError("a packet that is too short")
        return self.data[begin : self.position]

    def byte(self) -> int:
        """Read a byte."""
        return self.take(1)[0]

    def two(self) -> int:
        """Read a two-byte integer."""
        return int.from_bytes(self.take(2), "big")

    def variable(self) -> int:
        """Read a variable byte integer."""
        number = 0
        for shift in (0, 7, 14, 21):
            digit = self.byte()
            number |= (digit & 0x7F) << shift
            if not digit & 0x80:
                return number
        raise ProtocolError("a number of more than four bytes")

    def binary(self) -> bytes:
        """Read binary data."""
        return self.take(self.two())

    def string(self) -> str:
        """Read a string."""
        return text(self.binary())


def text(data: bytes) -> str:
    """Decode a string's bytes.

    Raises:
        ProtocolError: they are no UTF-8, or hold a null character (section 1.5.4).
    """
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a string that is no UTF-8: {error.reason}") from error
    if "\0" in decoded:
        raise ProtocolError("a string with a null character")
    return decoded
