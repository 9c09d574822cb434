"""The parts of the CoAP listener by themselves."""

from pathlib import Path

import aiocoap
import pytest
from aiocoap.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_gateway.listeners.coap import blocks, recent, wire
from iot_gateway.listeners.coap.blocks import Blocks, Progress
from iot_gateway.listeners.coap.recent import Recent
from iot_gateway.listeners.coap.security import NodeContext, SequenceNumbers
from iot_gateway.nodes import Node

OPTIONS = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=300)), max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 65535), st.binary(max_size=8), OPTIONS, st.binary(max_size=50))
def test_what_aiocoap_writes_is_read(identifier: int, token: bytes, options: list[tuple[int, bytes]], payload: bytes):
    written = Message(code=aiocoap.POST, payload=payload, _mid=identifier, _mtype=0, _token=token)
    for number, value in options:
        option = aiocoap.numbers.optionnumbers.OptionNumber(number).create_option(decode=None, value=None)
        option.decode = lambda raw: raw
        option.encode = lambda value=value: value
        written.opt.add_option(option)
    found = wire.read(written.encode())
    assert found is not None
    assert (found.kind, found.code, found.identifier, found.token, found.payload) == (0, 2, identifier, token, payload)
    assert sorted(found.options) == sorted(options)


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(lambda tail: b"\x42\x02\x00\x01tt" + tail)))
def test_nothing_that_is_read_brings_it_down(data: bytes):
    found = wire.read(data)
    if found is not None:
        assert sum(len(value) for _, value in found.options) + len(found.payload) <= len(data)


@pytest.mark.parametrize("max_age", [None, 0, 10, 3600])
@pytest.mark.parametrize("diagnostic", ["", "a reason"])
def test_replies_are_what_aiocoap_reads(max_age: int | None, diagnostic: str):
    read = Message.decode(wire.reply(wire.ACKNOWLEDGEMENT, wire.UNAVAILABLE, 513, b"tok", diagnostic, max_age))
    assert (read.code, read.mid, read.token) == (aiocoap.SERVICE_UNAVAILABLE, 513, b"tok")
    assert (read.payload, read.opt.max_age) == (diagnostic.encode(), max_age)


def test_what_came_lately_is_bounded():
    known = Recent(messages=10)
    for key in range(100):
        known.put(key, key)
        assert known.get(key) == key
        assert len(known) <= 20
    assert known.get(5) is None
    assert known.get(90) == 90


def test_an_answer_is_only_noted_for_what_is_remembered():
    known = Recent(messages=10)
    known.put(1, recent.UNANSWERED)
    known.answer(1, 68)
    known.answer(2, 68)
    assert (known.get(1), known.get(2)) == (68, None)


def test_what_came_lately_is_forgotten():
    known = Recent(lifetime=-1)
    known.put(1, 68)
    known.age()
    assert known.get(1) == 68
    known.age()
    assert known.get(1) is None


def test_blocks_make_a_whole():
    gathering = Blocks()
    assert gathering.add("a", 0, True, b"12", 10) is Progress.CONTINUE
    assert gathering.add("b", 0, True, b"xx", 10) is Progress.CONTINUE
    assert gathering.add("a", 2, False, b"3", 10) == b"123"
    assert gathering.add("b", 2, False, b"y", 10) == b"xxy"
    assert len(gathering) == 0


def test_blocks_that_do_not_follow():
    gathering = Blocks()
    assert gathering.add("a", 16, True, b"12", 100) is Progress.INCOMPLETE
    gathering.add("a", 0, True, b"12", 100)
    assert gathering.add("a", 4, False, b"12", 100) is Progress.INCOMPLETE
    assert len(gathering) == 0


def test_a_first_block_starts_over():
    gathering = Blocks()
    gathering.add("a", 0, True, b"12", 100)
    gathering.add("a", 0, True, b"34", 100)
    assert gathering.add("a", 2, False, b"5", 100) == b"345"


def test_blocks_are_bounded():
    gathering = Blocks(most=3, most_bytes=100)
    for key in range(10):
        gathering.add(key, 0, True, b"x" * 10, 1000)
    assert len(gathering) == 3
    gathering.add("large", 0, True, b"x" * 95, 1000)
    assert len(gathering) == 1
    assert gathering.add("large", 95, True, b"x" * 6, 100) is Progress.TOO_LARGE
    assert len(gathering) == 0


def test_blocks_that_nobody_completes_are_forgotten():
    gathering = Blocks(lifetime=-1)
    gathering.add("a", 0, True, b"12", 100)
    assert gathering.add("a", 2, False, b"3", 100) is Progress.INCOMPLETE


def test_sequence_numbers_never_come_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("iot_gateway.listeners.coap.security.RESERVE", 5)
    taken = []
    for _ in range(4):
        numbers = SequenceNumbers(tmp_path / "sequence")
        numbers.open()
        taken += [numbers.take() for _ in range(7)]
    assert len(set(taken)) == len(taken)
    assert taken == sorted(taken)


def test_blocks_hold_no_more_than_their_bound():
    assert blocks.MOST_BYTES <= 8 * 2**20


def test_oscore_is_that_of_the_specification():
    # RFC 8613, appendix C.1.2 (keys), C.4 (request), C.7 (answer); the server's side, as the gateway is.
    keys = {
        "oscore-id": "",
        "oscore-secret": "0102030405060708090a0b0c0d0e0f10",
        "oscore-salt": "9e7ca92223786340",
    }
    node = Node("node", keys=keys)
    context = NodeContext(node, b"\x01", SequenceNumbers(Path("/nowhere")), b"")
    context.recipient_replay_window.initialize_empty()
    assert context.recipient_key.hex() == "f0910ed7295e6ad4b54fc793154302ff"
    assert context.sender_key.hex() == "ffb14e093c94c9cac9471648b4f98710"
    sealed = context.sealed(b"\x14")
    assert sealed is not None
    assert sealed.nonce.hex() == "4622d4dd6d944168eefb549868"
    assert context.open(sealed, bytes.fromhex("612f1092f1776f1c1668b3825e")).hex() == "01b3747631"
    answer = bytes.fromhex("45ff48656c6c6f20576f726c6421")
    assert context.seal(sealed, answer).hex() == "dbaad1e9a7e7b2a813d3c31524378303cdafae119106"
