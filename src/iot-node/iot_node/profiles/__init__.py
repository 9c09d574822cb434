"""Sets of sensors, found by name."""

from iot_node.errors import UnknownProfileError
from iot_node.profiles.base import Measurement, Profile
from iot_node.profiles.host import Host
from iot_node.profiles.sensortag import SensorTag

__all__ = ["NAMES", "Measurement", "Profile", "create"]

_PROFILES: dict[str, type[Profile]] = {"host": Host, "sensortag": SensorTag}

NAMES = tuple(_PROFILES)


def create(name: str, seed: int) -> Profile:
    """Make the profile called ``name``.

    Raises:
        UnknownProfileError: there is none.
    """
    try:
        return _PROFILES[name].create(seed)
    except KeyError:
        raise UnknownProfileError(f"no profile {name!r}: there are {', '.join(NAMES)}") from None
