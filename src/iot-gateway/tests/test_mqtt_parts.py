"""The parts of the MQTT listener by themselves: wire format, ledger, last values, certificates' names."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt_rig import connect, publish, string

from iot_gateway.errors import ConfigError
from iot_gateway.listeners.mqtt import codes, connecting, ledger, properties, publishing, tls, wire
from iot_gateway.listeners.mqtt.last_values import LastValues
from iot_gateway.listeners.mqtt.ledger import Ledger
from iot_gateway.listeners.mqtt.wire import Framer, ProtocolError, Reader

LIMIT = 4096


# Examples of non-normative section 2.2.3 of MQTT 3.1.1.
@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2097151, "ffff7f"),
        (268435455, "ffffff7f"),
    ],
)
def test_variable_byte_integers(number: int, encoded: str):
    data = wire.variable(number)
    assert data.hex() == encoded
    assert Reader(data, 0, len(data)).variable() == number


@pytest.mark.parametrize("number", [-1, 268435456])
def test_a_number_that_can_not_be(number: int):
    with pytest.raises(ValueError, match=str(number)):
        wire.variable(number)


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
def test_packets_are_found_however_the_stream_is_cut(bodies: list[bytes], data: st.DataObject):
    packets = [wire.packet(0x30, body) for body in bodies]
    stream = b"".join(packets)
    framer = Framer(LIMIT)
    found: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        piece, stream = stream[:size], stream[size:]
        taken, places = framer.feed(piece)
        found += [taken[place.begin : place.end] for place in places]
    assert found == packets


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=20))
def test_the_framer_keeps_no_more_than_a_packet_may_have(pieces: list[bytes]):
    framer = Framer(64)
    try:
        for piece in pieces:
            framer.feed(piece)
            assert len(framer._rest) <= 64 + 200
    except ProtocolError:
        pass


@given(st.binary(max_size=200))
def test_no_bytes_make_a_reader_fail_otherwise_than_it_says(data: bytes):
    reasons: list[int] = []
    for read in (
        lambda reader: connecting.read(reader),
        lambda reader: connecting.read_answer(reader, codes.V5),
        lambda reader: properties.read(reader),
        lambda reader: publishing.read(0x34, reader.data, 0, len(reader.data), True),
        lambda reader: publishing.read(0x30, reader.data, 0, len(reader.data), False),
    ):
        try:
            read(Reader(data, 0, len(data)))
        except ProtocolError as error:
            reasons.append(error.reason)
    assert all(reason >= 0x80 for reason in reasons)


@given(st.data())
def test_no_change_of_a_connect_makes_it_fail_otherwise(data: st.DataObject):
    packet = bytearray(connect(data.draw(st.sampled_from([4, 5])), will=string("t") + string("p")))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(2, len(packet) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = connecting.read(Reader(bytes(packet), 2, len(packet)))
    except ProtocolError:
        return
    assert found.for_broker("a", "b")[0] == 0x10


@pytest.mark.parametrize("level", [4, 5])
def test_a_connect_is_read_as_it_was_written(level: int):
    packet = connect(level, "c", "u", "p", clean=False, keepalive=7, properties=b"\x11\x00\x00\x00\x01")
    found = connecting.read(Reader(packet, 2, len(packet)))
    assert (found.client_id, found.username, found.password, found.keepalive) == ("c", "u", b"p", 7)
    assert not found.clean
    again = found.for_broker("c", "u")
    assert connecting.read(Reader(again, 2, len(again))) == found._replace(
        password=None, keepalive=0, flags=found.flags & 0xBF
    )


@given(
    st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text),
    st.binary(max_size=50),
    st.integers(1, 65535),
    st.booleans(),
)
def test_a_publish_is_read_as_it_was_written(topic: str, payload: bytes, identifier: int, v5: bool):
    packet = publish(topic, payload, identifier, v5=v5, own=b"\x01\x01" if v5 else b"")
    start = len(packet) - (2 + len(topic.encode()) + 2 + 3 * v5 + len(payload))
    found = publishing.read(packet[0], packet, start, len(packet), v5)
    assert found == (topic.encode(), payload, identifier.to_bytes(2, "big"), 0)


def test_user_properties_may_repeat_and_are_kept():
    own = b"\x26" + string("a") + string("b")
    data = wire.variable(2 * len(own)) + own + own
    found = properties.read(Reader(data, 0, len(data)))
    assert len(found) == 2
    assert properties.write(found) == data


def identifiers(path: Path, client: str, numbers: range) -> set[int]:
    made = Ledger(path)
    made.open()
    try:
        return {number for number in numbers if made.holds(client, number)}
    finally:
        made.close()


async def noted(made: Ledger, *changes: tuple[str, str, list[int]]) -> None:
    task = asyncio.create_task(made.run())
    done: list[int] = []
    for method, client, numbers in changes:
        getattr(made, method)(client, numbers, lambda: done.append(1))
    async with asyncio.timeout(5):
        while len(done) < len(changes):
            await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_ledger_remembers(tmp_path: Path):
    path = tmp_path / "state" / "ledger"

    async def inside() -> None:
        made = Ledger(path)
        made.open()
        await noted(made, ("use", "a", [1, 2, 3]), ("use", "b", [1]), ("release", "a", [2]))
        assert made.count("a") == 2
        made.forget("b")
        made.forget("nobody")
        await noted(made, ("release", "c", [9]))
        made.close()

    asyncio.run(inside())
    with path.open("ab") as file:
        file.write(b'["a",[7],tr')
    assert identifiers(path, "a", range(10)) == {1, 3}
    assert identifiers(path, "b", range(10)) == set()


def test_a_ledger_that_grows_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger, "COMPACT_BYTES", 500)
    monkeypatch.setattr(ledger, "MAX_CLIENTS", 3)
    path = tmp_path / "ledger"

    async def inside() -> None:
        made = Ledger(path)
        made.open()
        for number in range(1, 200):
            await noted(made, ("use", "a", [number]), ("release", "a", [number - 1]))
        for client in "bcd":
            await noted(made, ("use", client, [1]))
        made.close()

    asyncio.run(inside())
    assert path.stat().st_size < 1000
    assert identifiers(path, "a", range(300)) == set()
    assert identifiers(path, "d", range(3)) == {1}


def test_a_spoilt_line_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "ledger"
    path.write_bytes(b'["a",[1],true]\nspoilt\n["a",5,true]\n["b",[2],true]\n')
    assert identifiers(path, "a", range(5)) == {1}
    assert "can't be read" in caplog.text
    assert identifiers(path, "b", range(5)) == {2}


def test_a_disk_that_refuses_delays_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger, "RETRY_SECONDS", 0.01)
    failures = [OSError(28, "No space left on device")] * 2
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(ledger.os, "fdatasync", fdatasync)

    async def inside() -> None:
        made = Ledger(tmp_path / "ledger")
        made.open()
        await noted(made, ("use", "a", [1]))
        made.close()

    asyncio.run(inside())
    assert identifiers(tmp_path / "ledger", "a", range(3)) == {1}


def test_a_ledger_that_can_not_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Ledger(tmp_path / "file" / "ledger").open()
    (tmp_path / "ledger.new").mkdir()
    with pytest.raises(OSError, match=r"ledger\.new"):
        Ledger(tmp_path / "ledger").open()


def test_last_values_are_coalesced_and_bounded():
    values = LastValues(topics=2)
    for topic, payload in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c", b"4"), ("b", b"x" * 5000)):
        values.note(topic, payload)
    assert values.left_out == 2
    assert values.take(1) == [("a", b"3")]
    assert values.take(5) == [("b", b"2")]
    assert len(values) == 0


def test_the_name_in_a_certificate():
    subject = ((("countryName", "DE"),), (("commonName", "node-1"),))
    assert tls.common_name({"subject": subject}) == "node-1"
    assert tls.common_name({"subject": subject[:1]}) is None
    assert tls.common_name({}) is None
    assert tls.common_name(None) is None


def test_a_certificate_that_can_not_be_used(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"TLS with .*none"):
        tls.context(tls.TlsOptions(certificate=tmp_path / "none", key=tmp_path / "none"))
