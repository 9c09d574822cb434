"""What commands set, made from a list of names: ``light``, ``bed-light:dimmer``, ``shutter``."""

import re
from collections.abc import Sequence
from typing import Final

from iot_node.actuators.base import Actuator, RefusedError, Value
from iot_node.actuators.moving import Dimmer, Shutter
from iot_node.actuators.setting import SetPoint, Switch
from iot_node.errors import ConfigError

__all__ = ["KINDS", "MOST", "USUAL", "Actuator", "RefusedError", "Value", "create"]

_KINDS: Final[dict[str, type[Actuator]]] = {kind.kind: kind for kind in (Dimmer, Switch, Shutter, SetPoint)}
KINDS: Final = tuple(_KINDS)
USUAL: Final = {"light": "dimmer", "socket": "switch", "heating": "setpoint"}
"""Names that say what they are."""
MOST: Final = 32
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def create(words: Sequence[str]) -> list[Actuator]:
    """Make actuators.

    Args:
        words: each a name and its kind with a colon between, or a name alone: a kind's own, or one of :data:`USUAL`.

    Raises:
        ConfigError: a word is no such thing, or a name comes twice.
    """
    made: list[Actuator] = []
    for word in words:
        name, colon, kind = word.partition(":")
        kind = kind if colon else USUAL.get(name, name)
        if not _NAME.fullmatch(name) or kind not in _KINDS:
            raise ConfigError(
                f"actuators: {word!r} is none: <name>:<kind> is expected, the name of lower-case letters, digits and "
                f"dashes, the kind one of {', '.join(KINDS)}; {', '.join(sorted({*USUAL, *KINDS}))} need no kind"
            )
        made.append(_KINDS[kind](name))
    names = [each.name for each in made]
    if len(set(names)) != len(names) or len(names) > MOST:
        raise ConfigError(f"actuators: at most {MOST}, each name once")
    return made
