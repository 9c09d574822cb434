"""What a hook tool prints: values as Go writes them in JSON, in YAML, and in Juju's `smart` format."""

import json
from collections.abc import Mapping
from typing import Any, cast

import yaml

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPES = str.maketrans(_ESCAPED)
_WHOLE = 1e21
_STR_TAG = "tag:yaml.org,2002:str"


def render(value: Any, form: str) -> str:
    """Return a value in one of the formats `json`, `yaml` and `smart`."""
    value = _numbers(value)
    if form == "json":
        return _json(value) + "\n"
    if form == "yaml" or isinstance(value, Mapping | int | float):
        return str(value) + "\n" if form == "smart" and isinstance(value, bool) else _yaml(value)
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return f"{value}\n"
    if all(isinstance(one, str) for one in value):
        return "".join(f"{one}\n" for one in value)
    return _yaml(value)


def _json(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.translate(_ESCAPES)


def _yaml(value: Any) -> str:
    if value is None:
        return ""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=1 << 30)
    return text.removesuffix("...\n")


def _numbers(value: Any) -> Any:
    """Return the value with whole floats as integers: Go writes no point in them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _WHOLE:
        return int(value)
    if isinstance(value, Mapping):
        return {key: _numbers(one) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_numbers(one) for one in cast("list[Any]", value)]
    return value


class _Dumper(yaml.SafeDumper):
    """Quotes as Go's YAML does: doubly, where a plain text would read as something else than a text."""


def _text(dumper: Any, data: str) -> Any:
    style = None
    if "\n" in data:
        style = "|"
    elif dumper.resolve(yaml.ScalarNode, data, (True, False)) != _STR_TAG:
        style = '"'
    return dumper.represent_scalar(_STR_TAG, data, style=style)


_Dumper.add_representer(str, _text)
