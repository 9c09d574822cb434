"""Where a torn file can be cut, whatever was written and wherever it was torn."""

import gzip
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_charm.flume.boundaries import (
    AVRO_MAGIC,
    AvroBlocks,
    GzipMembers,
    Lines,
    Scanner,
    SnappyBlocks,
    ends_whole,
    scanner_for,
)

BATCHES = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6)
SYNC = bytes(range(16))


def fed(scanner: Scanner, data: bytes, size: int) -> int:
    for start in range(0, len(data), size):
        scanner.feed(data[start : start + size])
    return scanner.whole


def whole_by(ends: list[int], torn_at: int) -> int:
    return max((end for end in ends if end <= torn_at), default=0)


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


def long(number: int) -> bytes:
    """Code a number as Avro does (zig-zag, 7 bits a byte)."""
    coded = (number << 1) ^ (number >> 63)
    out = bytearray()
    while coded > 0x7F:
        out.append(coded & 0x7F | 0x80)
        coded >>= 7
    return bytes(out) + bytes([coded])


def avro_header() -> bytes:
    entry = long(11) + b"avro.schema" + long(8) + b'"string"'
    return AVRO_MAGIC + long(1) + entry + long(0) + SYNC


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def snappy_block(chunks: list[bytes]) -> bytes:
    """Frame chunks as Hadoop's BlockCompressorStream does; Snappy's stream begins with its length."""
    out = sum(map(len, chunks)).to_bytes(4, "big")
    for chunk in chunks:
        stream = varint(len(chunk)) + chunk
        out += len(stream).to_bytes(4, "big") + stream
    return out


def units(kind: str, batches: list[bytes]) -> list[bytes]:
    if kind == "gz":
        return [gzip.compress(batch, 1) for batch in batches]
    if kind == "lines":
        return [batch.replace(b"\n", b"") + b"\n" for batch in batches]
    if kind == "avro":
        return [avro_header(), *(long(1) + long(len(batch)) + batch + SYNC for batch in batches)]
    return [snappy_block([batch, batch[:1]]) for batch in batches]


NAMES = {"gz": "FlumeData.1.gz", "lines": "FlumeData.1", "avro": "FlumeData.1.avro", "snappy": "FlumeData.1.snappy"}


@pytest.mark.parametrize("kind", ["gz", "lines", "avro", "snappy"])
@given(batches=BATCHES, where=st.floats(0, 1), size=st.integers(1, 400))
def test_cut_is_behind_the_last_whole_unit(kind: str, batches: list[bytes], where: float, size: int):
    written = units(kind, batches)
    ends = [sum(map(len, written[: count + 1])) for count in range(len(written))]
    data = b"".join(written)
    torn_at = round(where * len(data))
    whole = fed(scanner_for(NAMES[kind]), data[:torn_at], size)
    assert whole == whole_by(ends, torn_at)


@pytest.mark.parametrize("kind", ["gz", "lines", "avro", "snappy"])
@given(batches=BATCHES, where=st.floats(0, 1))
def test_looking_at_the_end_agrees_with_reading_it_all(kind: str, batches: list[bytes], where: float):
    data = b"".join(units(kind, batches))
    data = data[: max(1, round(where * len(data)))]
    whole = fed(scanner_for(NAMES[kind]), data, 100) == len(data)
    assert ends_whole(NAMES[kind], len(data), reader(data)) == whole


@given(before=BATCHES, junk=st.binary(min_size=1, max_size=100), after=BATCHES, size=st.integers(1, 200))
def test_members_behind_junk_are_kept(before: list[bytes], junk: bytes, after: list[bytes], size: int):
    # What can be taken for the beginning of a member may hide the next one; that is not what happens by accident.
    junk = junk.replace(b"\x1f", b"x")
    members = units("gz", [*before, *after])
    data = b"".join([*members[: len(before)], junk, *members[len(before) :]])
    assert fed(GzipMembers(), data, size) == len(data)


def test_a_tail_longer_than_the_first_look():
    # Random bytes don't compress, so the last member alone is longer than the first tail that is read.
    data = gzip.compress(b"first\n") + gzip.compress(os.urandom(300_000), 1)
    looked_at: list[int] = []

    def read(offset: int, length: int) -> bytes:
        looked_at.append(length)
        return data[offset : offset + length]

    assert ends_whole("f.gz", len(data), read)
    assert all(shorter < longer for shorter, longer in pairwise(looked_at))
    assert not ends_whole("f.gz", len(data) - 1, reader(data[:-1]))


def test_a_whole_end_costs_one_short_read():
    data = b"".join(gzip.compress(os.urandom(5_000), 1) for _ in range(100))
    looked_at: list[int] = []

    def read(offset: int, length: int) -> bytes:
        looked_at.append(length)
        return data[offset : offset + length]

    assert ends_whole("f.gz", len(data), read)
    assert looked_at == [64 << 10]


def test_a_member_with_a_wrong_checksum_is_not_whole():
    good = gzip.compress(b"good\n")
    bad = bytearray(gzip.compress(b"bad\n"))
    bad[-8] ^= 1
    assert fed(GzipMembers(), good + bytes(bad), 7) == len(good)


@pytest.mark.parametrize(
    ("scanner", "data"),
    [
        (AvroBlocks(), b"Obj\x02 is no container"),
        (AvroBlocks(), avro_header() + long(1) + long(3) + b"abc" + b"?" * 16),
        (AvroBlocks(), avro_header() + long(1) + long(-3) + b"abc" + SYNC),
        (AvroBlocks(), avro_header() + b"\xff" * 12),
        (SnappyBlocks(), (3).to_bytes(4, "big") + (9).to_bytes(4, "big") + varint(8) + b"12345678"),
        (SnappyBlocks(), (3).to_bytes(4, "big") + (1).to_bytes(4, "big") + varint(0)),
    ],
    ids=["magic", "sync", "negative size", "endless number", "chunk beyond its block", "empty chunk"],
)
def test_what_is_broken_ends_the_whole_part(scanner: Scanner, data: bytes):
    before = len(avro_header()) if data.startswith(avro_header()) else 0
    assert fed(scanner, data + data, 5) == before


def test_lines_count_from_the_beginning():
    assert fed(Lines(), b"a\nbc\ntorn", 3) == 5
