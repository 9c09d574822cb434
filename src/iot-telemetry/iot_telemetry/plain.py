"""Plain payloads: what simple nodes send in the place of SenML, read by rules.

A rule says which topics hold what: a bare number (``21.5``), a bare text, or one JSON object of names and values
(``{"temperature": 21.5, "window": true}``), and what the readings are called. What comes out is what a SenML pack would
have become.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import orjson

from iot_telemetry.errors import MalformedPayloadError
from iot_telemetry.senml import MAX_RECORDS, SenmlRecord, absolute_time, checked_name

MAX_TEXT = 4096
"""Characters of a bare text."""

_NUMBER = re.compile(rb"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class PlainRule:
    """How the payloads of some topics are read."""

    topic: str
    """A topic, or a filter with the wildcards of MQTT, section 4.7: ``telemetry/+/temperature``."""
    format: Literal["number", "text", "json"]
    sensor: str = ""
    """The sensor's name, for "json" what its names stand behind; ``{3}`` stands for the topic's third level. Empty: the
    topic's levels behind the node's, with a slash between."""
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    """SenML units by sensor."""
    time: str = ""
    """For "json": the name that holds the time, seconds since the epoch; empty for the time of arrival."""

    def matches(self, topic: str) -> bool:
        """Tell whether the rule is for this topic."""
        wanted, given = self.topic.split("/"), topic.split("/")
        if wanted[-1] == "#":
            return len(given) >= len(wanted) - 1 and _fit(wanted[:-1], given)
        return len(wanted) == len(given) and _fit(wanted, given)


def _fit(wanted: Sequence[str], given: Sequence[str]) -> bool:
    return all(want in ("+", have) for want, have in zip(wanted, given, strict=False))


def decode(rule: PlainRule, node: str, topic: str, payload: bytes, now: float) -> list[SenmlRecord]:
    """Read a plain payload.

    Args:
        rule: that matches the topic.
        node: that sent it; the records' names begin with it.
        topic: that it came on.
        payload: as it was sent.
        now: seconds since the epoch, the records' time unless the payload has one.

    Raises:
        MalformedPayloadError: it is not what the rule says.
    """
    sensor = _sensor(rule, node, topic)
    match rule.format:
        case "number":
            if not _NUMBER.fullmatch(payload):
                raise MalformedPayloadError("not a number")
            return [_record(rule, node, sensor, float(payload), now)]
        case "text":
            return [_record(rule, node, sensor, _text(payload), now)]
        case "json":
            return _object(rule, node, sensor, payload, now)


def _sensor(rule: PlainRule, node: str, topic: str) -> str:
    levels = topic.split("/")
    if rule.sensor:

        def level(match: re.Match[str]) -> str:
            number = int(match[1])
            if not 1 <= number <= len(levels):
                raise MalformedPayloadError(f"the topic has no level {number} for the sensor's name")
            return levels[number - 1]

        return re.sub(r"\{(\d+)\}", level, rule.sensor)
    behind = levels.index(node) + 1 if node in levels else len(levels)
    return "/".join(levels[behind:])


def _object(rule: PlainRule, node: str, prefix: str, payload: bytes, now: float) -> list[SenmlRecord]:
    try:
        content: Any = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MalformedPayloadError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MalformedPayloadError("not a JSON object")
    fields: dict[str, Any] = content  # pyright: ignore[reportUnknownVariableType]
    if len(fields) > MAX_RECORDS:
        raise MalformedPayloadError(f"{len(fields)} values in one object, at most {MAX_RECORDS} are allowed")
    time = now
    if rule.time and rule.time in fields:
        given = fields.pop(rule.time)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise MalformedPayloadError(f"{rule.time} is not a time in seconds")
        time = absolute_time(rule.time, float(given), now)
    if not fields:
        raise MalformedPayloadError("an object without a value")
    return [_record(rule, node, f"{prefix}/{name}" if prefix else name, value, time) for name, value in fields.items()]


def _record(rule: PlainRule, node: str, sensor: str, value: Any, time: float) -> SenmlRecord:
    if not sensor:
        raise MalformedPayloadError("neither the topic nor the rule names the sensor")
    name = checked_name(sensor, f"{node}/{sensor}")
    unit = rule.units.get(sensor, "")
    if isinstance(value, bool):
        return SenmlRecord(name, time, unit, flag=value)
    if isinstance(value, int | float):
        number = _finite(sensor, value)
        return SenmlRecord(name, time, unit, value=number)
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return SenmlRecord(name, time, unit, text=value)
    raise MalformedPayloadError(f"{sensor} is neither a number, a text of at most {MAX_TEXT} characters nor a flag")


def _finite(sensor: str, value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise MalformedPayloadError(f"{sensor} is out of range")
    return number


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise MalformedPayloadError("not UTF-8") from error
