"""The parts of the LwM2M server by themselves."""

import contextlib
import struct
import time
from decimal import Decimal

import cbor2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_gateway.desk import RefusedError
from iot_gateway.listeners.lwm2m import courier, objects, tlv, values
from iot_gateway.listeners.lwm2m.objects import Path
from iot_gateway.listeners.lwm2m.registration import Offer
from iot_telemetry.errors import MalformedPayloadError

NOW = 1e9

NUMBERS = st.integers(0, 0xFFFF)
LEAVES = st.builds(
    tlv.Entry, st.sampled_from([tlv.Kind.RESOURCE, tlv.Kind.RESOURCE_INSTANCE]), NUMBERS, st.binary(max_size=300)
)
NESTS = st.builds(
    lambda kind, number, entries: tlv.Entry(kind, number, entries=entries),
    st.sampled_from([tlv.Kind.OBJECT_INSTANCE, tlv.Kind.RESOURCES]),
    NUMBERS,
    st.lists(LEAVES, max_size=4),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(LEAVES, NESTS), max_size=5))
def test_tlv_is_read_as_it_was_written(entries: list[tlv.Entry]):
    assert tlv.decode(tlv.encode(entries)) == entries


@settings(max_examples=5000, deadline=None)
@given(st.binary(max_size=200))
def test_tlv_noise_is_malformed_or_read(data: bytes):
    with contextlib.suppress(MalformedPayloadError):
        assert len(tlv.decode(data)) <= len(data)


def test_tlv_of_the_specification():
    # OMA LwM2M 1.1 core, section 7.4.5.2: GET /3/0 of the example device, its first resources.
    data = bytes.fromhex(
        "C8 00 14 4F 70 65 6E 20 4D 6F 62 69 6C 65 20 41 6C 6C 69 61 6E 63 65"
        "C8 01 16 4C 69 67 68 74 77 65 69 67 68 74 20 4D 32 4D 20 43 6C 69 65 6E 74"
        "C8 02 09 33 34 35 30 30 30 31 32 33 C3 03 31 2E 30"
        "86 06 41 00 01 41 01 05 88 07 08 42 00 0E D8 42 01 13 88".replace(" ", "")
    )
    found = tlv.decode(data)
    assert [(entry.kind, entry.number, entry.value) for entry in found[:4]] == [
        (3, 0, b"Open Mobile Alliance"),
        (3, 1, b"Lightweight M2M Client"),
        (3, 2, b"345000123"),
        (3, 3, b"1.0"),
    ]
    assert [(entry.number, tlv.integer(entry.value)) for entry in found[4].entries] == [(0, 1), (1, 5)]
    assert [(entry.number, tlv.integer(entry.value)) for entry in found[5].entries] == [(0, 3800), (1, 5000)]
    assert tlv.encode(found) == data


def test_tlv_bounds():
    deep = tlv.Entry(tlv.Kind.RESOURCE, 0, b"x")
    for _ in range(3):
        deep = tlv.Entry(tlv.Kind.OBJECT_INSTANCE, 0, entries=[deep])
    with pytest.raises(MalformedPayloadError, match="nested"):
        tlv.decode(tlv.encode([deep]))
    with pytest.raises(MalformedPayloadError, match="more than"):
        tlv.decode(b"\xc0\x00" * (tlv.MOST_ENTRIES + 1))
    with pytest.raises(ValueError, match="can't hold"):
        tlv.encode([tlv.Entry(tlv.Kind.RESOURCE, 0x10000)])


@pytest.mark.parametrize("piece", ["<", "<a", "<a>;", '<a>;a="', ";a", "<a>,", "\n"])
def test_no_offer_keeps_the_gateway_busy(piece: str):
    begin = time.monotonic()
    Offer.parse(piece * (65536 // len(piece)))
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("value", [0, 1, -1, 127, -128, 128, 32767, -32769, 2**31, -(2**63), 2**63 - 1])
def test_integers(value: int):
    assert tlv.integer(tlv.from_integer(value)) == value


def test_numbers():
    assert tlv.number(struct.pack(">f", 0.1)) == 0.1
    assert tlv.number(tlv.from_float(0.1)) == 0.1
    # As much as single precision holds: a barometer's 0.01 Pa, and what is at its end.
    assert tlv.number(struct.pack(">f", 101325.25)) == 101325.25
    assert tlv.number(struct.pack(">f", 12345678.0)) == 12345678.0
    for bits in ("7f7fffff", "ff7fffff", "00000001", "80000000"):
        assert struct.pack(">f", tlv.number(bytes.fromhex(bits))) == bytes.fromhex(bits)
    assert tlv.number(bytes.fromhex("7f800000")) == float("inf")
    for read in (tlv.number, tlv.integer, tlv.boolean):
        with pytest.raises(MalformedPayloadError):
            read(b"123")
    with pytest.raises(MalformedPayloadError):
        tlv.text(b"\xff")
    with pytest.raises(ValueError, match="too large"):
        tlv.from_integer(2**63)


@settings(max_examples=2000, deadline=None)
@given(
    st.sampled_from([None, *values.FORMATS, 50]),
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["bn", "n", "v", "vs", "vb", "vd", "vlo", "t", "u"]) | st.text(max_size=3), inner
                )
            ),
            max_leaves=8,
        ).map(lambda content: orjson.dumps(content) if _plain(content) else b""),
        st.lists(
            st.dictionaries(
                st.integers(-8, 9), st.one_of(st.text(max_size=8), st.floats(), st.booleans(), st.binary(max_size=4))
            ),
            max_size=4,
        ).map(cbor2.dumps),
    ),
    st.sampled_from([(), (3303, 0), (3303, 0, 5700), (3311, 0, 5850)]),
)
def test_nothing_that_a_node_says_brings_it_down(content_format: int | None, payload: bytes, base: Path):
    decode = values.decoder("node", content_format, base, {}, known_only=len(base) == 2)
    with contextlib.suppress(MalformedPayloadError):
        found = decode(payload, NOW)
        assert found
        assert all(record.name.startswith("node/") for record in found)


def _plain(content: object) -> bool:
    try:
        orjson.dumps(content)
    except TypeError:
        return False
    return True


def named(content_format: int | None, payload: bytes, base: Path = (3303, 0)) -> dict[str, object]:
    found = values.decoder("node", content_format, base, {}, known_only=True)(payload, NOW)
    return {record.name: (record.value, record.text, record.flag, record.unit) for record in found}


def test_units():
    pack = b'[{"bn":"/3303/0/","n":"5700","v":70},{"n":"5701","vs":"Far"},{"n":"5602","v":99}]'
    assert named(110, pack) == {"node/temperature/0": (70.0, None, None, "Far")}
    assert objects.unit((3303, 0, 5700), "celsius") == "Cel"
    assert objects.unit((3304, 0, 5700), "%") == "%RH"
    assert objects.unit((3311, 0, 5851), "lm") == "%"
    assert objects.unit((9, 9, 9), "") == ""


def test_a_unit_that_was_told_before_holds():
    units: dict[Path, str] = {}
    values.decoder("node", 110, (3303, 0), units, known_only=True)(
        b'[{"n":"/3303/0/5701","vs":"K"},{"n":"/3303/0/5700","v":300}]', NOW
    )
    (record,) = values.decoder("node", 0, (3303, 0, 5700), units, known_only=True)(b"301.5", NOW)
    assert (record.value, record.unit) == (301.5, "K")


TEMPERATURE = {"node/temperature/0": (21.5, None, None, "Cel")}


@pytest.mark.parametrize(
    ("content_format", "payload", "base", "expected"),
    [
        (0, b"21.5", (3303, 0, 5700), {"node/temperature/0": (21.5, None, None, "Cel")}),
        (None, b"1", (3342, 1, 5500), {"node/switch/1": (None, None, True, "")}),
        (60, cbor2.dumps(55), (3311, 0, 5851), {"node/light/0/dimmer": (55.0, None, None, "%")}),
        (112, cbor2.dumps([{0: "/3342/0/5500", 4: False}]), (3342, 0), {"node/switch/0": (None, None, False, "")}),
        (112, cbor2.dumps([{0: "/3303/0/5700", 2: Decimal("21.5")}]), (3303, 0), TEMPERATURE),
        (60, cbor2.dumps(Decimal("21.5")), (3303, 0, 5700), TEMPERATURE),
        (110, b'[{"n":"/3308/2/5900","v":19.5}]', (3308, 2), {"node/set-point/2": (19.5, None, None, "")}),
        (1542, bytes.fromhex("e4164441ac0000"), (3303, 0), {"node/temperature/0": (21.5, None, None, "Cel")}),
        (
            11542,
            bytes.fromhex("0707e4164441ac0000"),
            (3303,),
            {"node/temperature/7": (21.5, None, None, "Cel")},
        ),
    ],
)  # fmt: skip
def test_formats(content_format: int | None, payload: bytes, base: Path, expected: dict[str, object]):
    assert named(content_format, payload, base) == expected


@pytest.mark.parametrize(
    ("content_format", "payload", "base", "reason"),
    [
        (0, b"warm", (3303, 0, 5700), "no number"),
        (0, b"2", (3342, 0, 5500), "neither 0 nor 1"),
        (0, b"\xff", (3303, 0, 5700), "UTF-8"),
        (0, b"inf", (3303, 0, 5700), "out of range"),
        (0, b"21.5", (3303, 0), "content format 0"),
        (60, cbor2.dumps([1]), (3303, 0, 5700), "CBOR value"),
        (60, b"\x82\x01", (3303, 0, 5700), "not CBOR"),
        (110, b'[{"n":"x","v":1}]', (), "is no path"),
        (110, b"{}", (), "no array"),
        (110, b"{", (), "not JSON"),
        (110, b'[{"n":"/3303/0/5701","vs":"Cel"}]', (3303, 0), "no value"),
        (112, cbor2.dumps(7), (), "no CBOR array"),
        (112, cbor2.dumps([{0: "/3303/0/5700", 2: 1}]) + b"\0", (), "1 bytes behind"),
        (112, cbor2.dumps([{0: "/3303/0/5700", 2: 1, "v": 2}]), (), "v is there twice"),
        (60, cbor2.dumps(1) + b"\0", (3303, 0, 5700), "1 bytes behind"),
        (11542, b"\xc1\x00\x01", (), "of no instance"),
        (50, b"{}", (), "content format 50"),
    ],
)
def test_what_is_malformed(content_format: int, payload: bytes, base: Path, reason: str):
    with pytest.raises(MalformedPayloadError, match=reason):
        named(content_format, payload, base)


def test_names_and_targets_are_each_others():
    for number, kind in objects.OBJECTS.items():
        for resource in kind.resources:
            path = (number, 3, resource)
            assert objects.target(objects.name(path)) == path
            assert objects.target("/" + "/".join(map(str, path))) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/3303",
        "/3303/0",
        "/3303/0/5700/0",
        "/3303/0/65536",
        "light",
        "light/0",
        "light/x/on",
        "light/65536/on",
        "a/0/b",
    ],
)
def test_what_is_no_target(text: str):
    assert objects.target(text) is None


@pytest.mark.parametrize(
    ("path", "value", "text", "raw"),
    [
        ((3311, 0, 5850), True, b"1", b"\xe1\x16\xda\x01"),
        ((3311, 0, 5850), 0.0, b"0", b"\xe1\x16\xda\x00"),
        ((3311, 0, 5851), 60.0, b"60", b"\xe1\x16\xdb\x3c"),
        ((3308, 0, 5900), 19.5, b"19.5", b"\xe8\x17\x0c\x08" + struct.pack(">d", 19.5)),
        ((3308, 0, 5750), "living", b"living", b"\xe6\x16\x76living"),
        ((1, 0, 1), 300.0, b"300", b"\xc2\x01\x01\x2c"),
        ((1, 0, 1), 1e30, b"1e+30", b"\xc8\x01\x08" + struct.pack(">d", 1e30)),
    ],
)
def test_what_is_written(path: Path, value: float | str | bool, text: bytes, raw: bytes):
    assert courier.written(path, value, values.TEXT) == text
    assert courier.written(path, value, values.TLV) == raw
    (record,) = orjson.loads(courier.written(path, value, values.SENML_JSON))
    assert f"{record['bn']}{record['n']}" == "/" + "/".join(map(str, path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((3311, 0, 5850), 2.0),
        ((3311, 0, 5851), 1.5),
        ((3311, 0, 5851), True),
        ((3311, 0, 5851), 1e30),
        ((3308, 0, 5900), "x"),
    ],
)
@pytest.mark.parametrize("content_format", [values.TEXT, values.TLV, values.SENML_JSON])
def test_what_a_resource_cant_hold(path: Path, value: float | str | bool, content_format: int):
    with pytest.raises(RefusedError):
        courier.written(path, value, content_format)


def test_offers():
    offer = Offer.parse(
        '</lwm2m>;rt="oma.lwm2m";ct="110 112",</lwm2m/3303/0>;ver=1.1,</lwm2m/3303/0>,</lwm2m/3301>,</3304/0>'
    )
    assert offer == Offer(("lwm2m",), ((3303, 0),), frozenset({110, 112}))
    assert Offer.parse('</3303/0>,</3303/1>;title="a,b",</5/0>').instances == ((3303, 0), (3303, 1))
    assert len(Offer.parse(",".join(f"</3303/{number}>" for number in range(1000))).instances) == 64


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text(alphabet='<>/;,="0123rtct. ', max_size=300)))
def test_no_offer_brings_it_down(text: str):
    Offer.parse(text)
