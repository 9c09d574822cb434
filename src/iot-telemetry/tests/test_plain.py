"""Plain payloads, read by rules."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_telemetry import MalformedPayloadError, plain
from iot_telemetry.plain import PlainRule
from iot_telemetry.senml import SenmlRecord

NOW = 1_800_000_000.0
TOPIC = "telemetry/kitchen/temperature"


def decode(rule: PlainRule, payload: bytes, topic: str = TOPIC) -> list[SenmlRecord]:
    return plain.decode(rule, "kitchen", topic, payload, NOW)


@pytest.mark.parametrize(
    ("topic", "given", "fits"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "b/a", False),
        ("#", "a/b", True),
        ("a/b", "a/b", True),
        ("a/b", "a", False),
    ],
)
def test_filters_match_as_mqtt_says(topic: str, given: str, fits: bool):
    assert PlainRule(topic, "number").matches(given) is fits


@pytest.mark.parametrize("payload", [b"21.5", b" 21.5\n", b"+2.15e1", b"21.50"])
def test_a_bare_number(payload: bytes):
    assert decode(PlainRule("#", "number"), payload) == [SenmlRecord("kitchen/temperature", NOW, "", 21.5)]


@pytest.mark.parametrize("payload", [b"", b"warm", b"nan", b"inf", b"1_000", b"0x10", b"1 2", "٣".encode(), b"1e999"])
def test_what_is_no_number(payload: bytes):
    with pytest.raises(MalformedPayloadError):
        decode(PlainRule("#", "number"), payload)


def test_names_and_units_are_the_rules():
    rule = PlainRule("#", "number", sensor="room/{3}", units={"room/temperature": "Cel"})
    assert decode(rule, b"1") == [SenmlRecord("kitchen/room/temperature", NOW, "Cel", 1.0)]
    deeper = "telemetry/kitchen/oven/top"
    assert decode(PlainRule("#", "text"), b"on", deeper) == [SenmlRecord("kitchen/oven/top", NOW, "", text="on")]


def test_an_object_of_values():
    rule = PlainRule("#", "json", units={"oven/t": "Cel"}, time="at", sensor="oven")
    payload = b'{"t": 180, "door": false, "mode": "grill", "at": 1700000000}'
    assert decode(rule, payload, "telemetry/kitchen") == [
        SenmlRecord("kitchen/oven/t", 1.7e9, "Cel", 180.0),
        SenmlRecord("kitchen/oven/door", 1.7e9, "", flag=False),
        SenmlRecord("kitchen/oven/mode", 1.7e9, "", text="grill"),
    ]


@pytest.mark.parametrize(
    ("rule", "payload", "topic", "reason"),
    [
        (PlainRule("#", "number"), b"1", "telemetry/kitchen", "names the sensor"),
        (PlainRule("#", "number", sensor="{9}"), b"1", TOPIC, "no level 9"),
        (PlainRule("#", "number", sensor="a b"), b"1", TOPIC, "does not allow"),
        (PlainRule("#", "text"), b"\xff", TOPIC, "UTF-8"),
        (PlainRule("#", "json"), b"[1]", TOPIC, "not a JSON object"),
        (PlainRule("#", "json"), b"{}", TOPIC, "without a value"),
        (PlainRule("#", "json"), b"{", TOPIC, "not JSON"),
        (PlainRule("#", "json"), b'{"a": null}', TOPIC, "neither a number"),
        (PlainRule("#", "json"), b'{"a": {"b": 1}}', TOPIC, "neither a number"),
        (PlainRule("#", "json", time="t"), b'{"a": 1, "t": "now"}', TOPIC, "not a time"),
        (PlainRule("#", "json", time="t"), b'{"a": 1, "t": 1e300}', TOPIC, "no date"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(rule: PlainRule, payload: bytes, topic: str, reason: str):
    with pytest.raises(MalformedPayloadError) as refused:
        decode(rule, payload, topic)
    assert reason in refused.value.reason


@settings(max_examples=500)
@given(st.sampled_from(["number", "text", "json"]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_nothing_but_a_refusal_comes_of_noise(kind, payload: bytes):
    with contextlib.suppress(MalformedPayloadError):
        decode(PlainRule("#", kind, time="t"), payload)
