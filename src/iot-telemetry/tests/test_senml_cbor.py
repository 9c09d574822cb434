"""SenML in CBOR: what RFC 8428 shows, and what hostile nodes send."""

import contextlib
import os
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_telemetry import MalformedPayloadError, senml_cbor
from iot_telemetry.senml import SenmlRecord

NOW = 1_800_000_000.0


def test_the_labels_of_table_4():
    pack = [
        {-2: "node-1/", -3: 1.276020076e9, -4: "A", -1: 10, 0: "voltage", 1: "V", 2: 120.1},
        {0: "current", 6: -5, 2: 1.5},
        {0: "door", 4: True},
        {0: "state", 3: "open", "seq": 7},
    ]
    assert senml_cbor.decode(cbor2.dumps(pack), NOW) == [
        SenmlRecord("node-1/voltage", 1276020076.0, "V", 120.1),
        SenmlRecord("node-1/current", 1276020071.0, "A", 1.5),
        SenmlRecord("node-1/door", 1276020076.0, "A", flag=True),
        SenmlRecord("node-1/state", 1276020076.0, "A", text="open", seq=7),
    ]


def test_a_pack_in_half_precision_and_of_indefinite_length():
    # [_ {_ 0: "a/t", 2: 21.5 (half)}]
    payload = bytes.fromhex("9f bf 00 63 61 2f 74 02 f9 4d60 ff ff".replace(" ", ""))
    assert senml_cbor.decode(payload, NOW) == [SenmlRecord("a/t", NOW, "", 21.5)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not CBOR"),
        (b"\xff", "not CBOR"),
        (cbor2.dumps({0: "a"}), "no CBOR array"),
        (cbor2.dumps([1]), "record 0: not a CBOR map"),
        (cbor2.dumps([]), "empty"),
        (cbor2.dumps([{0: "a/t", 2: 1}]) + b"\x00", "1 bytes behind the CBOR item"),
        (cbor2.dumps([{0: "a/t", "n": "a/u", 2: 1}]), "n is there twice"),
        (cbor2.dumps([{0: "a/t", 2: "1"}]), "v is not a number"),
        (cbor2.dumps([{0: "a/t", 2: float("nan")}]), "v is out of range"),
        (cbor2.dumps([{0: "a/t", 8: b"x"}]), "data value"),
        (bytes.fromhex("81" * 5000), "not CBOR"),
        (bytes.fromhex("9b7fffffffffffffff"), "not CBOR"),
    ],
)
def test_what_is_no_pack_is_refused_with_the_reason(payload: bytes, reason: str):
    with pytest.raises(MalformedPayloadError) as refused:
        senml_cbor.decode(payload, NOW)
    assert reason in refused.value.reason


def test_unknown_integer_labels_may_be_ignored():
    assert senml_cbor.decode(cbor2.dumps([{0: "a/t", 2: 1, 99: "x"}]), NOW) == [SenmlRecord("a/t", NOW, "", 1.0)]


names = st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9:./_]{0,30}", fullmatch=True)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: (number, None, None)),
    st.text(max_size=50).map(lambda text: (None, text, None)),
    st.booleans().map(lambda flag: (None, None, flag)),
)


@given(st.lists(st.tuples(names, st.floats(2**28, 4e9), st.sampled_from(["", "Cel", "%RH"]), values), min_size=1))
def test_what_was_written_is_read_back(
    rows: list[tuple[str, float, str, tuple[float | None, str | None, bool | None]]],
):
    records = [SenmlRecord(name, time, unit, *value) for name, time, unit, value in rows]
    assert senml_cbor.decode(senml_cbor.encode(records), NOW) == records


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_noise(payload: bytes):
    with contextlib.suppress(MalformedPayloadError):
        senml_cbor.decode(payload, NOW)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.integers(-8, 12) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=500)
@given(anything)
def test_nothing_but_a_refusal_comes_of_other_structures(content: object):
    with contextlib.suppress(MalformedPayloadError):
        senml_cbor.decode(cbor2.dumps([content]), NOW)


def value_of(content: bytes) -> float | None:
    """Return the value of a record with this CBOR for a value."""
    (record,) = senml_cbor.decode(b"\x81\xa2\x00\x68node-1/x\x02" + content, NOW)
    return record.value


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"\xc4\x82\x20\x19\x09\xff", 255.9), (b"\xc4\x82\x02\x03", 300.0), (b"\xc2\x42\x01\x00", 256.0)],
)
def test_numbers_may_be_decimal_fractions_and_large(content: bytes, value: float):
    assert value_of(content) == value


@pytest.mark.parametrize(
    "content",
    [
        b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xc4\x82\x3b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xc4\x82\x1a\x00\x0f\x00\x00\x01",
        b"\xc4\x82\x01\x61x",
        b"\xc5\x82\x1b\x00\x00\x00\xff\xff\xff\xff\xff\x01",
        b"\xd8\x1e\x82\x01\x00",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xc1\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd8\x64\x1b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xd8\x23\x61(",
    ],
)
def test_tags_that_mean_harm_are_refused(content: bytes):
    with pytest.raises(MalformedPayloadError):
        value_of(content)


@pytest.mark.parametrize("payload", [b"\x61\xff", b"\x7f\x61\xff\xff", b"\xd8\x23\x61(", b"\xd8\x25\x01"])
def test_what_is_refused_leaves_nothing_in_memory(payload: bytes):
    def refuse(times: int) -> int:
        for _ in range(times):
            with contextlib.suppress(MalformedPayloadError):
                senml_cbor.decode(payload, NOW)
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = refuse(2000)
    assert refuse(20_000) - before < 2**21
