"""The TLV format of LwM2M (OMA LwM2M 1.1 core, section 7.4.5; content format 11542)."""

import struct
from ctypes import c_float
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from iot_telemetry.errors import MalformedPayloadError

MOST_ENTRIES: Final = 10_000
_DEEPEST: Final = 3


class Kind(IntEnum):
    """What an entry is."""

    OBJECT_INSTANCE = 0
    RESOURCE_INSTANCE = 1
    RESOURCES = 2
    """A resource with several instances."""
    RESOURCE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a value, or what holds others."""

    kind: Kind
    number: int
    value: bytes = b""
    entries: list["Entry"] = field(default_factory=list["Entry"])


def decode(data: bytes) -> list[Entry]:
    """Read entries.

    Raises:
        MalformedPayloadError: they are none.
    """
    return _decode(data, [MOST_ENTRIES], 0)


def _decode(data: bytes, left: list[int], depth: int) -> list[Entry]:
    if depth >= _DEEPEST:
        raise MalformedPayloadError("TLV that is nested too deeply")
    found: list[Entry] = []
    position = 0
    while position < len(data):
        left[0] -= 1
        if left[0] < 0:
            raise MalformedPayloadError(f"more than {MOST_ENTRIES} TLV entries")
        first = data[position]
        wide = 2 if first & 0x20 else 1
        length_size = first >> 3 & 3
        begin = position + 1 + wide
        start = begin + length_size
        if start > len(data):
            raise MalformedPayloadError("a TLV entry that ends too early")
        length = int.from_bytes(data[begin:start], "big") if length_size else first & 7
        end = start + length
        if end > len(data):
            raise MalformedPayloadError("a TLV value that ends too early")
        number = int.from_bytes(data[position + 1 : begin], "big")
        kind, value = Kind(first >> 6), data[start:end]
        if kind in (Kind.OBJECT_INSTANCE, Kind.RESOURCES):
            found.append(Entry(kind, number, entries=_decode(value, left, depth + 1)))
        else:
            found.append(Entry(kind, number, value))
        position = end
    return found


def encode(entries: list[Entry]) -> bytes:
    """Write entries.

    Raises:
        ValueError: a number or a value is too large.
    """
    return b"".join(_encode(entry) for entry in entries)


def _encode(entry: Entry) -> bytes:
    nests = entry.kind in (Kind.OBJECT_INSTANCE, Kind.RESOURCES)
    value = encode(entry.entries) if nests else entry.value
    if not 0 <= entry.number <= 0xFFFF or len(value) > 0xFFFFFF:
        raise ValueError("a number or a value that TLV can't hold")
    wide = 2 if entry.number > 0xFF else 1
    length_size = 0 if len(value) < 8 else (len(value).bit_length() + 7) // 8
    first = entry.kind << 6 | (wide - 1) << 5 | length_size << 3 | (0 if length_size else len(value))
    length = len(value).to_bytes(length_size, "big") if length_size else b""
    return bytes((first,)) + entry.number.to_bytes(wide, "big") + length + value


def number(value: bytes) -> float:
    """Read a float.

    Raises:
        MalformedPayloadError: it is none.
    """
    if len(value) not in (4, 8):
        raise MalformedPayloadError(f"a float of {len(value)} bytes")
    (found,) = struct.unpack(">f" if len(value) == 4 else ">d", value)
    return _shortest(found) if len(value) == 4 else found


def _shortest(single: float) -> float:
    # 0.1 would come out as 0.10000000149011612. Seven digits are enough for most, nine for all.
    near = (float(f"{single:.{digits}g}") for digits in (7, 8))
    return next((number for number in near if c_float(number).value == single), single)


def integer(value: bytes) -> int:
    """Read an integer.

    Raises:
        MalformedPayloadError: it is none.
    """
    if len(value) not in (1, 2, 4, 8):
        raise MalformedPayloadError(f"an integer of {len(value)} bytes")
    return int.from_bytes(value, "big", signed=True)


def boolean(value: bytes) -> bool:
    """Read a boolean.

    Raises:
        MalformedPayloadError: it is none.
    """
    if value not in (b"\0", b"\1"):
        raise MalformedPayloadError("a boolean that is neither 0 nor 1")
    return value == b"\1"


def text(value: bytes) -> str:
    """Read a string.

    Raises:
        MalformedPayloadError: it is none.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedPayloadError("a string that is not UTF-8") from error


def from_float(value: float) -> bytes:
    """Write a float."""
    return struct.pack(">d", value)


def from_integer(value: int) -> bytes:
    """Write an integer.

    Raises:
        ValueError: it is too large.
    """
    for size in (1, 2, 4, 8):
        if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
            return value.to_bytes(size, "big", signed=True)
    raise ValueError(f"{value} is too large an integer")
