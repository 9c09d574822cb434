"""What comes from outside: what is refused, and how it is told."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, field

from iot_gateway.shapes import Secret, Shape, ShapeError


class Inner(Shape, frozen=True, kw_only=True):
    kind: Literal["a", "b"] = "a"
    count: Annotated[int, Meta(ge=1)] = 1


class Outer(Shape, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=r"^[a-z]+\Z")]
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = field(default_factory=dict[str, Inner])
    file: Path = Path("/none")
    password: Secret = Secret("")

    def __post_init__(self) -> None:
        if self.name == "wrong":
            raise ValueError("name is wrong")


def test_what_is_as_declared():
    content = {"name": "x", "many": [{"kind": "b"}], "file": "/file", "password": "secret"}
    read = Outer.read(content)
    assert (read.many[0].kind, read.file, read.password.text) == ("b", Path("/file"), "secret")
    assert read == Outer.read(content)
    assert hash(read.password) == hash(Secret("secret"))
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    ("content", "field", "told"),
    [
        ({}, "name", "name: it is missing"),
        ({"name": "x", "colour": 1}, "colour", "colour: there is no such field"),
        ({"name": "x\n"}, "name", "name: Expected `str` matching"),
        ({"name": "wrong"}, "", "name is wrong"),
        ({"name": "x", "inner": {"count": 0}}, "inner", "inner.count: Expected `int` >= 1"),
        ({"name": "x", "inner": {"size": 0}}, "inner", "inner.size: there is no such field"),
        ({"name": "x", "inner": {"kind": "c"}}, "inner", "inner.kind: one of 'a', 'b' is expected"),
        ({"name": "x", "many": [{}, {"kind": "c"}]}, "many", "many[1].kind: one of 'a', 'b' is expected"),
        ({"name": "x", "named": {"y": {"kind": "c"}}}, "named", "named[...].kind: one of 'a', 'b' is expected"),
        ({"name": "x", "file": 1}, "file", "file: Expected `str`"),
        ({"name": "x", "password": 1}, "password", "password: Expected `str`"),
        ([], "", "Expected `object`, got `array`"),
    ],
)
def test_what_is_not(content: Any, field: str, told: str):
    with pytest.raises(ShapeError) as refused:
        Outer.read(content)
    assert refused.value.field == field
    assert str(refused.value).startswith(told)
