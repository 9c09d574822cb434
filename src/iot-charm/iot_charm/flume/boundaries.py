"""Where a file that its writer left in mid-write can be cut: after its last whole unit.

What was flushed to HDFS ends with a whole unit (a batch: one gzip member, or lines), and that is what the channel
has let go of. Behind it may be part of a unit that was not flushed; that the channel still has, and sends again. A
scanner is fed a file from its beginning and tells how much of it is whole; it holds one unit in memory.
"""

import zlib
from collections.abc import Callable
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b\x08"
AVRO_MAGIC = b"Obj\x01"
AVRO_SYNC_BYTES = 16
FIRST_TAIL_BYTES = 64 << 10
DECODED_BYTES = 256 << 10

Read = Callable[[int, int], bytes]
"""Reads ``(offset, length)`` of a file."""


class Scanner(Protocol):
    """Finds the end of the last whole unit."""

    @property
    def whole(self) -> int:
        """Bytes from the beginning of the file to the end of the last whole unit."""
        ...

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        ...


class _Decoder(Protocol):
    """What ``zlib.decompressobj`` returns, which has no public type."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def scanner_for(name: str) -> Scanner:
    """Return the scanner for a file, by the end of its (final) name."""
    kinds: dict[str, Callable[[], Scanner]] = {
        ".gz": GzipMembers,
        ".avro": AvroBlocks,
        ".snappy": SnappyBlocks,
    }
    return next((kind() for ending, kind in kinds.items() if name.endswith(ending)), Lines())


class Lines:
    """Text: a unit is a line with its newline."""

    def __init__(self):
        self.whole = 0
        self._length = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        end = data.rfind(b"\n") + 1
        if end:
            self.whole = self._length + end
        self._length += len(data)


class GzipMembers:
    """Concatenated gzip members (RFC 1952, section 2.2), each proved by its CRC-32 and its length.

    What is no member is passed over up to the next one: whole members behind it count.
    """

    def __init__(self):
        self.whole = 0
        self._start = 0
        """Offset of ``_member`` in the file."""
        self._member = b""
        """What was read of the member that is not whole yet."""
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        while data:
            self._member += data
            try:
                behind = _behind_member(self._decoder, data)
            except zlib.error:
                data = self._skip_to_magic()
                continue
            if behind is None:
                return
            data = behind
            self._start += len(self._member) - len(data)
            self.whole = self._start
            self._begin()

    def _skip_to_magic(self) -> bytes:
        """Begin again at the next place where a member may start; returns what to decode."""
        found = self._member.find(GZIP_MAGIC, 1)
        if found < 0:
            # The magic may be split between what was read and what comes.
            found = len(self._member) - next(
                (size for size in (2, 1) if self._member[1:].endswith(GZIP_MAGIC[:size])), 0
            )
        rest = self._member[found:]
        self._start += found
        self._begin()
        return rest

    def _begin(self) -> None:
        self._member = b""
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)


class _Buffered:
    """A scanner that takes whole units from the front of a buffer."""

    def __init__(self):
        self.whole = 0
        self._buffer = b""
        self._broken = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        if self._broken:
            return
        self._buffer += data
        taken = 0
        try:
            while (size := self._unit(memoryview(self._buffer)[taken:])) is not None:
                taken += size
        except ValueError:
            self._broken = True
        self.whole += taken
        self._buffer = self._buffer[taken:]

    def _unit(self, data: memoryview) -> int | None:
        """Return the size of the unit that ``data`` begins with; None if it is not all there.

        Raises:
            ValueError: there is no unit.
        """
        raise NotImplementedError


class AvroBlocks(_Buffered):
    """An Avro object container file (Avro specification, "Object Container Files"): its header, then its blocks."""

    def __init__(self):
        super().__init__()
        self.sync = b""

    def _unit(self, data: memoryview) -> int | None:
        return self._block(data) if self.sync else self._header(data)

    def _header(self, data: memoryview) -> int | None:
        if bytes(data[:4]) != AVRO_MAGIC[: len(data)]:
            raise ValueError("no Avro container")
        position = 4
        try:
            count = 1
            while count:
                count, position = _avro_long(data, position)
                if count < 0:
                    _, position = _avro_long(data, position)
                for _ in range(2 * abs(count)):
                    size, position = _avro_long(data, position)
                    position += size
        except IndexError:
            return None
        if len(data) < position + AVRO_SYNC_BYTES:
            return None
        self.sync = bytes(data[position : position + AVRO_SYNC_BYTES])
        return position + AVRO_SYNC_BYTES

    def _block(self, data: memoryview) -> int | None:
        try:
            _, position = _avro_long(data, 0)
            size, position = _avro_long(data, position)
        except IndexError:
            return None
        end = position + size + AVRO_SYNC_BYTES
        if size < 0:
            raise ValueError("a block of negative size")
        if len(data) < end:
            return None
        if bytes(data[end - AVRO_SYNC_BYTES : end]) != self.sync:
            raise ValueError("a block without its sync marker")
        return end


class SnappyBlocks(_Buffered):
    """Hadoop's block compression with Snappy.

    A block is the length of what was compressed (4 bytes, big-endian), then chunks, each its compressed length and
    a Snappy stream, which begins with the length of what it holds.
    """

    def _unit(self, data: memoryview) -> int | None:
        if len(data) < 4:
            return None
        missing = int.from_bytes(data[:4], "big")
        position = 4
        try:
            while missing:
                if len(data) < position + 4:
                    return None
                size = int.from_bytes(data[position : position + 4], "big")
                held, _ = _unsigned(data, position + 4)
                position += 4 + size
                missing -= held
                if missing < 0 or not held:
                    raise ValueError("chunks that don't fit their block")
        except IndexError:
            return None
        return position if len(data) >= position else None


def ends_whole(name: str, length: int, read: Read) -> bool:
    """Tell whether a file ends with a whole unit, reading little more than its end.

    Args:
        name: of the file; its end tells what is in it.
        length: of the file, more than 0.
        read: reads a part of it.
    """
    if name.endswith(".gz"):
        return _ends_with_member(length, read)
    if name.endswith(".avro"):
        scanner = AvroBlocks()
        scanner.feed(read(0, min(length, FIRST_TAIL_BYTES)))
        return bool(scanner.sync) and read(length - AVRO_SYNC_BYTES, AVRO_SYNC_BYTES) == scanner.sync
    if name.endswith(".snappy"):
        snappy = SnappyBlocks()
        for offset in range(0, length, 1 << 20):
            snappy.feed(read(offset, min(1 << 20, length - offset)))
        return snappy.whole == length
    return read(length - 1, 1) == b"\n"


def _ends_with_member(length: int, read: Read) -> bool:
    """Look for the last member from the end of the file backwards, in ever longer tails."""
    size = 0
    while size < length:
        size = min(length, max(FIRST_TAIL_BYTES, size * 4))
        tail = read(length - size, size)
        found = tail.rfind(GZIP_MAGIC)
        while found >= 0:
            if _is_members(tail[found:]):
                return True
            found = tail.rfind(GZIP_MAGIC, 0, found + len(GZIP_MAGIC) - 1)
    return False


def _is_members(data: bytes) -> bool:
    rest: bytes | None = data
    while rest:
        try:
            rest = _behind_member(zlib.decompressobj(zlib.MAX_WBITS | 16), rest)
        except zlib.error:
            return False
    return rest is not None


def _behind_member(decoder: _Decoder, data: bytes) -> bytes | None:
    """Decode ``data`` to nowhere; returns what follows the member's end, or None if its end is not there.

    Raises:
        zlib.error: it is no member.
    """
    while data and not decoder.eof:
        # A bounded piece at a time: gzip can hold a thousand times its size.
        decoder.decompress(data, DECODED_BYTES)
        data = decoder.unconsumed_tail
    return decoder.unused_data if decoder.eof else None


def _avro_long(data: memoryview, position: int) -> tuple[int, int]:
    """Read a zig-zag coded number; returns it and where it ends."""
    number, position = _unsigned(data, position)
    return (number >> 1) ^ -(number & 1), position


def _unsigned(data: memoryview, position: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, lowest first; returns it and where it ends.

    Raises:
        IndexError: the data ends before it.
    """
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, position
        if shift > 63:
            raise ValueError("a number that is too long")
