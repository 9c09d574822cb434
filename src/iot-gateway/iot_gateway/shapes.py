"""What comes from outside, configuration and commands, checked against declared fields (msgspec).

pydantic would do the same, and take 10 MB more of a gateway's memory (docs/adr/0155-msgspec-and-asyncios-own-loop.md).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Self, Union, get_args, get_origin, get_type_hints

import msgspec

_PLACE: Final = re.compile(r"^(?P<reason>.*?)(?: - at (?:`key` in )?`\$\.?(?P<place>.*)`)?$", re.DOTALL)
"""What msgspec says: a reason, and the path of what it is about."""
_FIELD: Final = re.compile(r"^Object (?:contains (?P<unknown>unknown)|missing required) field `(?P<name>.*)`$")


class ShapeError(ValueError):
    """Something is not what is expected there; the text holds no value, since it may be a secret."""

    def __init__(self, place: str, reason: str):
        super().__init__(f"{place}: {reason}" if place else reason)
        self.place = place
        """The field, with those that it lies in: ``batch.readings``; empty for the whole."""
        self.reason = reason

    @property
    def field(self) -> str:
        """The outermost field of :attr:`place`."""
        return re.split(r"[.\[]", self.place)[0]


class Secret:
    """A text that doesn't show where its owner is printed."""

    # No dataclass: msgspec would read it as an object with a field.
    __slots__ = ("text",)

    def __init__(self, text: str):
        self.text = text

    def __eq__(self, other: object) -> bool:
        """Tell whether they are the same text."""
        return isinstance(other, Secret) and self.text == other.text

    def __hash__(self) -> int:
        """Follow the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """Keep it to itself."""
        return "Secret(...)"


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    r"""Base of what is read: fields, their bounds (:class:`msgspec.Meta`), and defaults.

    A class made of others must say ``kw_only=True`` itself where a field without a default follows one with. What
    fields must be together is checked in ``__post_init__``, which raises ValueError; bounds are checked by
    :meth:`read` alone. Patterns end in ``\Z``: ``$`` lets a newline through.
    """

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Read what TOML or JSON brought.

        Raises:
            ShapeError: a field is unknown, missing or not as declared.
        """
        try:
            return msgspec.convert(content, cls, dec_hook=_read_text)
        except msgspec.ValidationError as error:
            raise _told(cls, str(error)) from error


def _read_text(kind: Any, content: Any) -> Any:
    """Make a value of a type that msgspec does not know."""
    if kind not in (Path, Secret):
        raise NotImplementedError(kind)
    if not isinstance(content, str):
        raise ValueError("Expected `str`")
    return kind(content)


def _told(shape: type[Shape], text: str) -> ShapeError:
    found = re.fullmatch(_PLACE, text)
    place, reason = (found["place"] or "", found["reason"]) if found else ("", text)
    if about := re.match(_FIELD, reason):
        place = f"{place}.{about['name']}".lstrip(".")
        return ShapeError(place, "there is no such field" if about["unknown"] else "it is missing")
    if reason.startswith("Invalid enum value"):
        reason = f"one of {', '.join(map(repr, _allowed(shape, place)))} is expected"
    return ShapeError(place, reason)


def _allowed(shape: Any, place: str) -> tuple[Any, ...]:
    """Return the texts that a field may hold: those of its Literal."""
    for name in re.sub(r"\[.*?\]", "", place).split("."):
        shape = _inner(get_type_hints(shape)[name])
    return get_args(shape)


def _inner(hint: Any) -> Any:
    """Return what is in a container, or optional."""
    while get_origin(hint) not in (None, Literal):
        arguments = [argument for argument in get_args(hint) if argument not in (NoneType, Ellipsis)]
        hint = arguments[0 if get_origin(hint) in (Union, UnionType) else -1]
    return hint
