"""The vocabulary of a charm's metadata: endpoints, options, actions, resources and storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tabletop.errors import TabletopError

Role = Literal["provider", "requirer", "peer"]
OptionValue = str | int | float | bool

OPTION_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "float": (float, int),
    "boolean": (bool,),
    "secret": (str,),
}
"""The option types of Juju, and the Python types that a value of each may have."""


class CharmError(TabletopError):
    """A charm can't be read; the text names the file and the key at fault."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a relation that a charm offers."""

    name: str
    interface: str
    role: Role
    limit: int | None = None
    optional: bool = True
    scope: Literal["global", "container"] = "global"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a charm's configuration; `default` None means that it is unset until given."""

    type: str
    default: OptionValue | None = None
    description: str = ""

    def parse(self, value: object) -> OptionValue:
        """Turn a value, or the text of one as a command line gives it, into this option's type.

        Raises:
            ValueError: the value doesn't fit; the text says what was expected.
        """
        if isinstance(value, str) and self.type in ("int", "float", "boolean"):
            value = _from_text(value, self.type)
        allowed = OPTION_TYPES[self.type]
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.type != "boolean"):
            raise ValueError(f"expected {self.type}, got {value!r}")
        if self.type == "float" and isinstance(value, int):
            return float(value)
        if self.type == "secret" and value and not str(value).startswith("secret:"):
            raise ValueError(f"expected a secret's URI (secret:...), got {value!r}")
        return cast("OptionValue", value)


@dataclass(frozen=True, slots=True)
class Action:
    """One action: `params` is the mapping of parameter name to JSON schema."""

    description: str = ""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    required: tuple[str, ...] = ()
    additional_properties: bool = True


@dataclass(frozen=True, slots=True)
class Resource:
    """A file (or an image, which machines can't use) that a charm is deployed with."""

    type: str
    filename: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Storage:
    """A piece of storage: `minimum` and `maximum` (None: no limit) instances a unit."""

    name: str
    type: Literal["filesystem", "block"]
    description: str = ""
    location: str = ""
    minimum: int = 1
    maximum: int | None = 1
    shared: bool = False
    read_only: bool = False
    minimum_size: str = ""


def _from_text(value: str, kind: str) -> object:
    if kind == "boolean":
        words = {"true": True, "false": False}
        try:
            return words[value.lower()]
        except KeyError:
            raise ValueError(f"expected boolean (true or false), got {value!r}") from None
    try:
        return int(value) if kind == "int" else float(value)
    except ValueError:
        raise ValueError(f"expected {kind}, got {value!r}") from None
