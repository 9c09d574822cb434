"""The layout of a segment file: a magic line, then frames, each with a header that proves it whole."""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from iot_gateway.interfaces import Frame

MAGIC = b"iot-outbox 1\n"
_HEADER = struct.Struct("<IIIQ")
"""CRC-32 of all that follows, bytes in the body, entries, milliseconds since the epoch when it was stored."""
HEADER_SIZE = _HEADER.size
MAX_BODY = 64 * 2**20


class StoredFrame(NamedTuple):
    """A frame as it was read."""

    frame: Frame
    stored_ms: int
    size: int
    """Bytes in the file, header included."""


def pack(frame: Frame, stored_ms: int) -> bytes:
    """Return the bytes of a frame."""
    header = _HEADER.pack(0, len(frame.body), frame.entries, stored_ms)
    crc = zlib.crc32(frame.body, zlib.crc32(header[4:]))
    return b"".join((struct.pack("<I", crc), header[4:], frame.body))


def read(descriptor: int, offset: int) -> StoredFrame | None:
    """Read the frame at ``offset``; None if there is no whole frame."""
    header = os.pread(descriptor, HEADER_SIZE, offset)
    if len(header) < HEADER_SIZE:
        return None
    crc, length, count, stored_ms = _HEADER.unpack(header)
    if length > MAX_BODY:
        return None
    body = os.pread(descriptor, length, offset + HEADER_SIZE)
    if len(body) < length or zlib.crc32(body, zlib.crc32(header[4:])) != crc:
        return None
    return StoredFrame(Frame(count, body), stored_ms, HEADER_SIZE + length)


class Header(NamedTuple):
    """What a frame says of itself; whether it is whole is not looked at."""

    entries: int
    stored_ms: int
    size: int
    """Bytes in the file, header included."""


def header(descriptor: int, offset: int) -> Header | None:
    """Return the header of the frame at ``offset``; None if there is none."""
    data = os.pread(descriptor, HEADER_SIZE, offset)
    if len(data) < HEADER_SIZE:
        return None
    _, length, entries, stored_ms = _HEADER.unpack(data)
    return Header(entries, stored_ms, HEADER_SIZE + length)


def walk(descriptor: int) -> Iterator[tuple[int, StoredFrame]]:
    """Iterate over the whole frames of a segment and their offsets, up to the first that is not whole."""
    offset = len(MAGIC)
    if os.pread(descriptor, offset, 0) != MAGIC:
        return
    while (stored := read(descriptor, offset)) is not None:
        yield offset, stored
        offset += stored.size
