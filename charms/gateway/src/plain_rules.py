"""The option ``plain_topics``: which topics carry plain payloads, and how they are read."""

from typing import Any

import yaml

from iot_charm.errors import InvalidConfigError
from iot_gateway.config import PlainConfig
from iot_gateway.shapes import ShapeError

MAX_RULES = 100
"""As the relay has it."""

_ALLOWED = {
    "topic": "a topic, or a filter with + for one level and /# at the end for all below",
    "format": "number, text or json",
    "sensor": "letters, digits and - : . / _, with {3} for the topic's third level",
    "units": "a mapping of sensors to SenML units, such as {temperature: Cel}",
    "time": "the name in the JSON object that holds the time",
}
_EXAMPLE = "'- {topic: telemetry/+/temperature, format: number}'"
_SHOWN = 60
"""Characters of a value that an error shows."""


def parse(text: str) -> tuple[PlainConfig, ...]:
    """Read the rules: a YAML list of mappings, each with the fields of one of the relay's ``[[plain]]`` tables.

    Raises:
        InvalidConfigError: they can't be; the text names the rule and the value, not the whole of the option.
    """
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfigError(f"plain_topics is no YAML: {' '.join(str(error).split())}") from error
    if found is None:
        return ()
    if not isinstance(found, list):
        raise InvalidConfigError(f"plain_topics={_short(found)}: must be a list of rules, such as {_EXAMPLE}")
    entries: list[Any] = found  # pyright: ignore[reportUnknownVariableType]
    if len(entries) > MAX_RULES:
        raise InvalidConfigError(
            f"plain_topics has {len(entries)} rules: {MAX_RULES} at most; + and # make one rule of several"
        )
    return tuple(_rule(f"plain_topics, rule {number}", entry) for number, entry in enumerate(entries, 1))


def _rule(where: str, entry: Any) -> PlainConfig:
    try:
        return PlainConfig.read(entry)
    except ShapeError as error:
        field = error.field
        if not field:
            reason = f"{_short(entry)}: must be a mapping, such as {_EXAMPLE[3:-1]}"
        elif field not in _ALLOWED:
            reason = f"{field}={_short(entry[field])}: no rule has that; {', '.join(_ALLOWED)} can be"
        elif field not in entry:
            reason = f"{field} is missing: {_ALLOWED[field]}"
        else:
            reason = f"{field}={_short(entry[field])}: must be {_ALLOWED[field]}"
        raise InvalidConfigError(f"{where}: {reason}") from error


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
