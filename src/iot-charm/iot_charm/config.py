"""Typed options of a charm."""

from typing import Any, TypeVar

import ops
from pydantic import BaseModel, ConfigDict, ValidationError

from iot_charm.errors import InvalidConfigError


class CharmConfig(BaseModel):
    """The options of a charm; a subclass has one field an option, with its type, default and range.

    Option names in the charm's metadata are the field names (underscores, as the bundle's ancestors had them).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


Config = TypeVar("Config", bound=CharmConfig)


def load_config(charm: ops.CharmBase, model: type[Config]) -> Config:
    """Load and check the charm's options.

    Raises:
        InvalidConfigError: a value is out of its range; the text names the option, the value and what is allowed.
    """
    values: dict[str, Any] = dict(charm.config)
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = ".".join(str(part) for part in first["loc"]) or "config"
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidConfigError(f"{option}={first['input']!r}: {reason}") from error
