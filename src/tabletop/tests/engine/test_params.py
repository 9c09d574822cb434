"""Parameters of actions against their schemas."""

from typing import Any

import pytest

from tabletop.charmfile import Action
from tabletop.engine.params import check_params
from tabletop.errors import TabletopError


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "integer"}, True, "true is not of type integer"),
        ({"type": "integer"}, 1.5, "1.5 is not of type integer"),
        ({"type": ["integer", "null"]}, "x", '"x" is not of type integer or null'),
        ({"minimum": 1, "exclusiveMinimum": True}, 1, "1 is not more than the minimum of 1"),
        ({"exclusiveMinimum": 1}, 1, "1 is not more than 1"),
        ({"maximum": 3}, 4, "4 is more than the maximum of 3"),
        ({"maximum": 3, "exclusiveMaximum": True}, 3, "3 is not less than the maximum of 3"),
        ({"exclusiveMaximum": 3}, 3, "3 is not less than 3"),
        ({"multipleOf": 5}, 7, "7 is not a multiple of 5"),
        ({"const": 1}, 2, "2 is not 1"),
        ({"minLength": 2}, "a", '"a" is shorter than 2 characters'),
        ({"maxLength": 2}, "abc", '"abc" is longer than 2 characters'),
        ({"pattern": "^[a-z]+$"}, "A1", '"A1" does not match the pattern ^[a-z]+$'),
        ({"type": "array", "minItems": 1}, [], "it has fewer than 1 items"),
        ({"type": "array", "maxItems": 1}, [1, 2], "it has more than 1 items"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"x": 1}, None),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(schema: dict[str, Any], value: object, problem: str | None) -> None:
    with pytest.raises(TabletopError) as caught:
        check_params(Action(params={"it": schema}), {"it": value})
    assert str(caught.value) == (f"it: {problem}" if problem else "it.x: 1 is not of type string")


def test_places_inside_lists_and_mappings_are_named() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
    action = Action(params={"list": {"type": "array", "items": inner}, "map": inner})
    with pytest.raises(TabletopError, match=r'list\[1\]\.n: "x" is not of type number'):
        check_params(action, {"list": [{"n": 1}, {"n": "x"}]})
    with pytest.raises(TabletopError, match=r"map\.n: it is required"):
        check_params(action, {"map": {}})


def test_defaults_fill_what_is_missing_at_any_depth() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}
    action = Action(params={"map": inner, "name": {"type": "string", "default": "x"}, "free": {}})
    assert check_params(action, {"map": {}, "free": 2.0}) == {"map": {"n": 7}, "name": "x", "free": 2.0}
    assert check_params(action, {"extra": True}) == {"extra": True, "name": "x"}
