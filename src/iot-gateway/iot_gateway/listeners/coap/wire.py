"""CoAP's messages as bytes (RFC 7252, section 3): as much as the short way of telemetry needs.

Whatever is not read here is read by aiocoap.
"""

import struct
from typing import Final, NamedTuple

CONFIRMABLE: Final = 0
NON_CONFIRMABLE: Final = 1
ACKNOWLEDGEMENT: Final = 2

POST: Final = 0x02
CHANGED: Final = 0x44
BAD_REQUEST: Final = 0x80
UNAUTHORIZED: Final = 0x81
NOT_FOUND: Final = 0x84
TOO_LARGE: Final = 0x8D
UNSUPPORTED_FORMAT: Final = 0x8F
UNAVAILABLE: Final = 0xA3

URI_HOST: Final = 3
URI_PORT: Final = 7
OSCORE: Final = 9
URI_PATH: Final = 11
CONTENT_FORMAT: Final = 12
MAX_AGE: Final = 14
URI_QUERY: Final = 15

_HEAD = struct.Struct(">BBH")
_PAYLOAD = b"\xff"
_MAX_TOKEN: Final = 8
_MAX_DIAGNOSTIC: Final = 512


class Request(NamedTuple):
    """A message as it came."""

    kind: int
    """Confirmable, ..."""
    code: int
    identifier: int
    """The message ID."""
    token: bytes
    options: list[tuple[int, bytes]]
    payload: bytes


def read(data: bytes) -> Request | None:
    """Read a message; None for one that is malformed."""
    size = len(data)
    if size < 4:
        return None
    first = data[0]
    position = 4 + (first & 0x0F)
    if first >> 6 != 1 or first & 0x0F > _MAX_TOKEN or position > size:
        return None
    found = options(data, position)
    if found is None:
        return None
    return Request(first >> 4 & 3, data[1], data[2] << 8 | data[3], data[4:position], *found)


def options(data: bytes, position: int) -> tuple[list[tuple[int, bytes]], bytes] | None:
    """Read options from ``position`` on, and the payload behind them; None if they are malformed."""
    size = len(data)
    found: list[tuple[int, bytes]] = []
    number = 0
    while position < size:
        byte = data[position]
        position += 1
        if byte == 0xFF:
            if position == size:
                return None  # a marker, and no payload
            return found, data[position:]
        delta, length = byte >> 4, byte & 0x0F
        if delta >= 13 or length >= 13:
            try:
                delta, position = _extended(delta, data, position)
                length, position = _extended(length, data, position)
            except (IndexError, ValueError):
                return None
        number += delta
        end = position + length
        if end > size:
            return None
        found.append((number, data[position:end]))
        position = end
    return found, b""


def _extended(nibble: int, data: bytes, position: int) -> tuple[int, int]:
    if nibble == 13:
        return data[position] + 13, position + 1
    if nibble == 14:
        return (data[position] << 8 | data[position + 1]) + 269, position + 2
    if nibble == 15:
        raise ValueError("reserved for the payload marker")
    return nibble, position


def reply(
    kind: int, code: int, identifier: int, token: bytes, diagnostic: str = "", max_age: int | None = None
) -> bytes:
    """Return a response.

    Args:
        kind: of the message, an acknowledgement or a non-confirmable one.
        code: of the response.
        identifier: the message ID.
        token: the request's.
        diagnostic: a text for a person to read (section 5.5.2); cut where it is long.
        max_age: seconds after which the request may be repeated (section 5.10.5).
    """
    return _HEAD.pack(0x40 | kind << 4 | len(token), code, identifier) + token + ending(diagnostic, max_age)


def ending(diagnostic: str, max_age: int | None) -> bytes:
    """Return what stands behind the token of a response; see :func:`reply`."""
    made = b""
    if max_age is not None:
        value = max_age.to_bytes((max_age.bit_length() + 7) // 8, "big")
        made = bytes((13 << 4 | len(value), MAX_AGE - 13)) + value
    if diagnostic:
        made += _PAYLOAD + diagnostic.encode()[:_MAX_DIAGNOSTIC]
    return made


def protected_reply(kind: int, identifier: int, token: bytes, sealed: bytes) -> bytes:
    """Return a response whose content is protected by OSCORE (RFC 8613, section 4.2: outside it is always 2.04)."""
    head = _HEAD.pack(0x40 | kind << 4 | len(token), CHANGED, identifier)
    return head + token + bytes((OSCORE << 4,)) + _PAYLOAD + sealed
