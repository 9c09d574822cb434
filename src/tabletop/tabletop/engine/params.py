"""Checks an action's parameters against its schema, and says in a sentence what is wrong."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from tabletop.charmfile import Action
from tabletop.errors import TabletopError

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def check_params(action: Action, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with their defaults.

    Raises:
        TabletopError: one is missing, unknown or doesn't fit, as `count: -1 is less than the minimum of 1`.
    """
    schema = {
        "type": "object",
        "properties": action.params,
        "required": list(action.required),
        "additionalProperties": action.additional_properties,
    }
    _check_object("", dict(params), schema)
    return _with_defaults(dict(params), action.params)


def _with_defaults(values: dict[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    for name, schema in properties.items():
        if name not in values and "default" in schema:
            values[name] = schema["default"]
        elif isinstance(values.get(name), dict) and "properties" in schema:
            values[name] = _with_defaults(dict(values[name]), schema["properties"])
    return values


def _check(name: str, value: Any, schema: Mapping[str, Any]) -> None:
    _check_type(name, value, schema.get("type"))
    if "enum" in schema and value not in schema["enum"]:
        raise _error(name, f"{_show(value)} is not one of {', '.join(_show(one) for one in schema['enum'])}")
    if "const" in schema and value != schema["const"]:
        raise _error(name, f"{_show(value)} is not {_show(schema['const'])}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(name, value, schema)
    elif isinstance(value, str):
        _check_text(name, value, schema)
    elif isinstance(value, list):
        _check_list(name, cast("list[Any]", value), schema)
    elif isinstance(value, dict):
        _check_object(name, cast("dict[str, Any]", value), schema)


def _check_type(name: str, value: Any, wanted: Any) -> None:
    if wanted is None:
        return
    kinds: list[str] = [wanted] if isinstance(wanted, str) else list(wanted)
    for kind in kinds:
        fits = isinstance(value, _TYPES.get(kind, (object,)))
        if fits and not (isinstance(value, bool) and kind in ("integer", "number")):
            return
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            return
    raise _error(name, f"{_show(value)} is not of type {' or '.join(kinds)}")


def _check_number(name: str, value: float, schema: Mapping[str, Any]) -> None:
    if "minimum" in schema:
        strict = schema.get("exclusiveMinimum") is True
        if value < schema["minimum"] or (strict and value == schema["minimum"]):
            raise _error(
                name, f"{_show(value)} is {'not more' if strict else 'less'} than the minimum of {schema['minimum']}"
            )
    if "maximum" in schema:
        strict = schema.get("exclusiveMaximum") is True
        if value > schema["maximum"] or (strict and value == schema["maximum"]):
            raise _error(
                name, f"{_show(value)} is {'not less' if strict else 'more'} than the maximum of {schema['maximum']}"
            )
    low, high = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(low, int | float) and not isinstance(low, bool) and value <= low:
        raise _error(name, f"{_show(value)} is not more than {low}")
    if isinstance(high, int | float) and not isinstance(high, bool) and value >= high:
        raise _error(name, f"{_show(value)} is not less than {high}")
    if "multipleOf" in schema and value % schema["multipleOf"]:
        raise _error(name, f"{_show(value)} is not a multiple of {schema['multipleOf']}")


def _check_text(name: str, value: str, schema: Mapping[str, Any]) -> None:
    if len(value) < schema.get("minLength", 0):
        raise _error(name, f"{_show(value)} is shorter than {schema['minLength']} characters")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        raise _error(name, f"{_show(value)} is longer than {schema['maxLength']} characters")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise _error(name, f"{_show(value)} does not match the pattern {schema['pattern']}")


def _check_list(name: str, value: list[Any], schema: Mapping[str, Any]) -> None:
    if len(value) < schema.get("minItems", 0):
        raise _error(name, f"it has fewer than {schema['minItems']} items")
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        raise _error(name, f"it has more than {schema['maxItems']} items")
    if isinstance(schema.get("items"), dict):
        for index, one in enumerate(value):
            _check(f"{name}[{index}]", one, schema["items"])


def _check_object(name: str, value: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    prefix = f"{name}." if name else ""
    for key in schema.get("required") or ():
        if key not in value:
            raise _error(f"{prefix}{key}", "it is required")
    extra = schema.get("additionalProperties", True)
    for key, one in value.items():
        if key in properties:
            _check(f"{prefix}{key}", one, properties[key])
        elif extra is False:
            known = ", ".join(sorted(properties)) or "none"
            raise _error(f"{prefix}{key}", f"there is no such parameter; known: {known}")
        elif isinstance(extra, dict):
            _check(f"{prefix}{key}", one, cast("dict[str, Any]", extra))


def _show(value: Any) -> str:
    return json.dumps(value)


def _error(name: str, problem: str) -> TabletopError:
    return TabletopError(f"{name}: {problem}" if name else problem)
