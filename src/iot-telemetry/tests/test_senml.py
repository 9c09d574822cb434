"""Packs in, resolved records out; expected values follow RFC 8428."""

import math

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_telemetry import MalformedPayloadError, senml
from iot_telemetry.senml import SenmlRecord

NOW = 1_800_000_000.0


def decode(*records: object) -> list[SenmlRecord]:
    return senml.decode(orjson.dumps(records), NOW)


def test_base_fields_hold_for_the_records_that_follow():
    # The shape of the RFC's example 5.1.2, with times and a base value.
    records = decode(
        {"bn": "node-1/", "bt": 1.276020076e9, "bu": "A", "bver": 10, "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "bv": 1.0, "t": -4, "v": 1.3},
    )
    assert records == [
        SenmlRecord("node-1/voltage", 1276020076.0, "V", 120.1),
        SenmlRecord("node-1/current", 1276020071.0, "A", 1.2),
        SenmlRecord("node-1/current", 1276020072.0, "A", 2.3),
    ]


def test_base_fields_may_come_in_a_record_of_their_own_and_change():
    records = decode({"bn": "a/"}, {"n": "x", "v": 1}, {"bn": "b/"}, {"n": "y", "v": 2})
    assert [(record.name, record.value) for record in records] == [("a/x", 1.0), ("b/y", 2.0)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, NOW), ({"t": -60}, NOW - 60), ({"bt": -10, "t": 4}, NOW - 6), ({"t": 2**28}, 2.0**28), ({"t": 7}, NOW + 7)],
)
def test_times_below_2_to_the_28_are_relative_to_now(fields: dict[str, float], expected: float):
    assert decode({"n": "a/x", "v": 1, **fields})[0].time == expected


def test_each_kind_of_value():
    assert [
        (r.value, r.text, r.flag) for r in decode({"n": "a", "v": 3}, {"n": "a", "vs": ""}, {"n": "a", "vb": False})
    ] == [
        (3.0, None, None),
        (None, "", None),
        (None, None, False),
    ]


def test_whole_numbers_become_floats_so_that_a_column_has_one_type():
    assert type(decode({"n": "a", "v": 21})[0].value) is float


def test_a_base_value_alone_does_not_change_text():
    assert decode({"bv": 5, "n": "a", "vs": "open"})[0].text == "open"


def test_the_count_of_the_node_and_unknown_labels():
    assert decode({"n": "a", "v": 1, "seq": 41, "mood": "good", "s": 7})[0].seq == 41


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"21.5 C", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'[{"n":"a","v":NaN}]', "not JSON"),
        (b'{"n":"a","v":1}', "no JSON array"),
        (b"[]", "an empty SenML pack"),
        (b"[3]", "record 0: not a JSON object"),
        (b'[{"n":"a"}]', "record 0: no value"),
        (b'[{"n":"a","s":1}]', "record 0: no value"),
        (b'[{"seq":3}]', "record 0: no value"),
        (b'[{"bn":"a"}]', "without a value"),
        (b'[{"n":"a","v":1,"vs":"b"}]', "more than one value"),
        (b'[{"n":"a","v":1},{"n":"a","v":true}]', "record 1: v is not a number"),
        (b'[{"n":"a","v":"1"}]', "v is not a number"),
        (b'[{"n":"a","vb":1}]', "vb is not true or false"),
        (b'[{"n":"a","vs":1}]', "vs is not a string"),
        (b'[{"n":"a","vd":"aGk="}]', "data value"),
        (b'[{"n":"a","v":1,"s":"x"}]', "s, bs or ut is not a number"),
        (b'[{"n":"a","v":1,"bver":11}]', "SenML version 11"),
        (b'[{"n":"a","v":1,"must_":1}]', "must_ must be understood"),
        (b'[{"v":1}]', "no name"),
        (b'[{"n":"-a","v":1}]', "does not allow"),
        (b'[{"n":"a b","v":1}]', "does not allow"),
        (b'[{"n":"a\\n","v":1}]', "does not allow"),
        (b'[{"n":"' + b"a" * 257 + b'","v":1}]', "longer than 256"),
        (b'[{"n":"a","v":1,"t":1e12}]', "is no date"),
        (b'[{"n":"a","v":1,"t":-1e12}]', "is no date"),
        (b'[{"n":"a","v":1,"seq":-1}]', "seq is not an integer"),
        (b'[{"n":"a","v":1,"seq":1.5}]', "seq is not an integer"),
        (b'[{"n":"a","v":1,"seq":true}]', "seq is not an integer"),
        (b'[{"n":"a","v":1,"seq":18446744073709551615}]', "seq is not an integer"),
        (b"[" * 3000, "not JSON"),
        (b"[" + b",".join([b"{}"] * 10_001) + b"]", "10001 records"),
    ],
)
def test_what_is_malformed_and_why(payload: bytes, reason: str):
    with pytest.raises(MalformedPayloadError) as caught:
        senml.decode(payload, NOW)
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason


@given(st.binary(max_size=200))
def test_bytes_from_anywhere_are_read_or_refused(payload: bytes):
    try:
        records = senml.decode(payload, NOW)
    except MalformedPayloadError:
        return
    assert records


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text("a/:_\n", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("nvx_", max_size=4), inner, max_size=3),
    max_leaves=5,
)
LABELS = st.sampled_from(
    ["n", "v", "u", "t", "seq", "bn", "bt", "bu", "bv", "bs", "s", "vs", "vb", "vd", "bver", "ut", "x", "x_"]
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(LABELS, JSON, max_size=6), max_size=4))
def test_hostile_packs_give_valid_records_or_a_reason(pack: list[dict[str, object]]):
    try:
        records = senml.decode(orjson.dumps(pack, option=orjson.OPT_PASSTHROUGH_SUBCLASS), NOW)
    except MalformedPayloadError:
        return
    for record in records:
        assert 0 <= record.time < senml.LATEST_TIME
        assert [record.value, record.text, record.flag].count(None) == 2
        assert record.value is None or math.isfinite(record.value)


def test_encode_writes_base_fields_once_and_decode_reads_it_back():
    records = [
        SenmlRecord("sensor-node-0/temperature", NOW, "Cel", 21.5, seq=0),
        SenmlRecord("sensor-node-0/light", NOW + 0.25, "lx", 800.0, seq=7),
        SenmlRecord("sensor-node-0/door", NOW, text="open"),
        SenmlRecord("sensor-node-0/on", NOW, flag=True),
    ]
    payload = senml.encode(records, base_name="sensor-node-0/", base_time=NOW)
    assert orjson.loads(payload)[:2] == [
        {"bn": "sensor-node-0/", "bt": NOW, "n": "temperature", "u": "Cel", "v": 21.5, "seq": 0},
        {"n": "light", "u": "lx", "t": 0.25, "v": 800.0, "seq": 7},
    ]
    assert senml.decode(payload, 0.0) == records


def test_encode_without_base_fields():
    record = SenmlRecord("a/x", NOW, "", 1.0)
    assert senml.decode(senml.encode([record]), 0.0) == [record]


@pytest.mark.parametrize(
    "record",
    [SenmlRecord("b/x", NOW, "", 1.0), SenmlRecord("a/x", NOW, "", math.nan), SenmlRecord("a/x", NOW, "", math.inf)],
)
def test_encode_refuses_what_senml_cannot_say(record: SenmlRecord):
    with pytest.raises(ValueError, match=r"/x"):
        senml.encode([record], base_name="a/")
