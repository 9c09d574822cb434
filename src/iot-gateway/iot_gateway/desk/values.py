"""A command's value as people write it: in a shell, in the parameter of an action."""

import math

import orjson

from iot_gateway.desk.command import Value

_WORDS: dict[str, bool] = {"on": True, "true": True, "off": False, "false": False}


def read_value(text: str) -> Value:
    """Return what a text stands for.

    ``60``, ``-1.5e3``: a number; ``true``, ``on``, ``false``, ``off``: a truth value (as YAML 1.1 has them, so that it
    does not matter who reads the word first); ``null``: no value; ``"60"``, with quotes in it: a text; all else: a text
    as it stands.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        read = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if read is None or isinstance(read, str):
        return read
    # No number that a float can't hold, and neither lists nor objects.
    return float(read) if isinstance(read, int | float) and math.isfinite(read) else text
