"""A reading as a line and back."""

import orjson
import pytest

from iot_telemetry import MalformedReadingError, Reading

READING = Reading(1.5, "site-1", "gateway-0", "sensor-node-0", "temperature", "Cel", 21.5, None, None, 3, 2.0)


def test_a_line_holds_what_the_reading_has_and_nothing_else():
    line = READING.to_line()
    assert b"\n" not in line
    assert orjson.loads(line) == {
        "time": 1.5,
        "site": "site-1",
        "gateway": "gateway-0",
        "node": "sensor-node-0",
        "sensor": "temperature",
        "unit": "Cel",
        "value": 21.5,
        "seq": 3,
        "received": 2.0,
    }


@pytest.mark.parametrize(
    "reading",
    [
        READING,
        Reading(1.0, "s", "g", "n", "door", "", None, "open\nwide", None, None, 2.0),
        Reading(1.0, "s", "g", "n", "on", "", None, None, False, 0, 2.0),
        Reading(1.0, "s", "g", "n", "zero", "", 0.0, None, None, 0, 2.0),
        Reading(1.0, "s", "g", "n", "command/light", "", None, "applied", None, None, 2.0, "one", "60 %", "60.0"),
    ],
)
def test_a_line_gives_the_reading_back(reading: Reading):
    assert Reading.from_line(reading.to_line()) == reading


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a reading"),
        (b"{}", "no time"),
        (b'{"time":"soon","site":"s","gateway":"g","node":"n","sensor":"x","received":1}', "not a reading"),
    ],
)
def test_what_is_no_reading(line: bytes, reason: str):
    with pytest.raises(MalformedReadingError, match=reason):
        Reading.from_line(line)
