"""Parcels: complete by number, by size, by age; none skipped, none twice."""

import asyncio
import base64
import gzip
import itertools

import orjson
import pytest
from fakes import MemoryOutbox
from hypothesis import given
from hypothesis import strategies as st

from iot_gateway.dead_letters import DeadLetter
from iot_gateway.interfaces import Envelope, Frame, Position
from iot_gateway.packer import Limits, Packer, dead_letter_wrap, readings_wrap

NEVER = 3600.0


def outbox_of(*sizes: int) -> MemoryOutbox:
    outbox = MemoryOutbox()
    numbers = itertools.count()
    frames = [Frame(size, b"".join(b"%d\n" % next(numbers) for _ in range(size))) for size in sizes]
    asyncio.run(outbox.append(frames))
    return outbox


def plain(body: bytes, count: int, start: Position) -> Envelope:
    assert body.count(b"\n") == count
    return Envelope(body, repr(start), "key", 0, "text/plain")


def bodies(packer: Packer) -> list[bytes]:
    found: list[bytes] = []
    while (parcel := packer.take()) is not None:
        found.append(parcel.envelope.body)
    return found


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 10), st.integers(4, 40))
def test_every_line_is_in_one_parcel_in_order(sizes: list[int], entries: int, size: int):
    outbox = outbox_of(*sizes)
    found = bodies(Packer(outbox, Limits(entries, size, 0.0), plain))
    assert b"".join(found) == b"".join(frame.body for frame in outbox.frames)
    assert all(body.count(b"\n") <= entries for body in found)


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 10), st.data())
def test_from_the_end_of_any_parcel_the_rest_follows(sizes: list[int], entries: int, data: st.DataObject):
    outbox = outbox_of(*sizes)
    packer = Packer(outbox, Limits(entries, 1000, 0.0), plain)
    parcels = list(iter(packer.take, None))
    if not parcels:
        return
    index = data.draw(st.integers(0, len(parcels) - 1))
    asyncio.run(outbox.confirm([parcel.part for parcel in parcels[: index + 1]]))
    rest = bodies(Packer(outbox, Limits(entries, 1000, 0.0), plain))
    assert b"".join(rest) == b"".join(parcel.envelope.body for parcel in parcels[index + 1 :])


def test_a_parcel_waits_until_it_is_full_or_old(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("iot_gateway.packer.time.monotonic", lambda: now)
    outbox = outbox_of(2)
    packer = Packer(outbox, Limits(3, 1000, 0.5), plain)
    assert packer.wait() == float("inf")
    assert packer.take() is None
    assert packer.wait() == 0.5
    now = 100.6
    parcel = packer.take()
    assert parcel is not None
    assert (parcel.entries, parcel.part.end) == (2, outbox.tail)
    assert packer.take() is None


def test_the_envelope_of_a_batch():
    packer = Packer(outbox_of(3), Limits(3, 1000, NEVER), readings_wrap("site-1", "gw", "gzip"))
    parcel = packer.take()
    assert parcel is not None
    envelope = parcel.envelope
    assert gzip.decompress(envelope.body) == b"0\n1\n2\n"
    assert (envelope.content_type, envelope.content_encoding, envelope.key) == (
        "application/x-ndjson",
        "gzip",
        "site-1.gw",
    )
    assert envelope.headers == {"readings": 3, "site": "site-1", "gateway": "gw"}
    again = Packer(outbox_of(3), Limits(3, 1000, NEVER), readings_wrap("site-1", "gw", "identity")).take()
    assert again is not None
    assert again.envelope.message_id == envelope.message_id
    assert (again.envelope.body, again.envelope.content_encoding) == (b"0\n1\n2\n", None)


def test_the_envelope_of_a_dead_letter_is_the_payload_itself():
    letter = DeadLetter("not JSON", "telemetry/x", 12.5, b"\xff\x00\n")
    assert orjson.loads(letter.to_line())["payload"] == base64.b64encode(b"\xff\x00\n").decode()
    outbox = MemoryOutbox()
    asyncio.run(outbox.append([Frame(2, letter.to_line() + b"\n" + letter.to_line() + b"\n")]))
    packer = Packer(outbox, Limits(1, 1, 0.0), dead_letter_wrap("site-1", "gw"))
    for _ in range(2):
        parcel = packer.take()
        assert parcel is not None
        assert parcel.envelope.body == b"\xff\x00\n"
        assert parcel.envelope.headers["reason"] == "not JSON"
        assert parcel.envelope.headers["received"] == 12500
    assert packer.take() is None
