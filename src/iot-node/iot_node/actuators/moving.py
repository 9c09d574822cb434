"""Actuators that go from one percentage to another at a speed of their own."""

from typing import ClassVar

from iot_node.actuators.base import Actuator, Value, is_number
from iot_node.profiles import Measurement


class Moving(Actuator):
    """Somewhere between 0 and 100 %."""

    speed: ClassVar[float]
    """Percent a second."""

    def __init__(self, name: str):
        super().__init__(name)
        self._position = 0.0
        self._goal: float | None = None
        self._at = 0.0

    def check(self, value: Value) -> None:
        """See whether a value may be wanted; see :class:`Actuator`."""
        if isinstance(value, str | bool):
            if value not in self._words():
                raise self.refuse(value)
        elif not is_number(value, 0, 100):
            raise self.refuse(value)

    def begin(self, value: Value, now: float) -> None:
        """Move."""
        self.step(now)
        goal = self._words().get(value) if isinstance(value, str | bool) else value
        self._goal = self._position if goal is None else float(goal)
        self._at = now

    def _words(self) -> dict[str | bool, float | None]:
        """Return what may be wanted beside percentages: where it goes then, None for where it is."""
        return {}

    def step(self, now: float) -> bool:
        """Move on."""
        goal, passed, self._at = self._goal, now - self._at, now
        if goal is None:
            return False
        way = goal - self._position
        if abs(way) <= passed * self.speed:
            self._position, self._goal = goal, None
            return False
        self._position += passed * self.speed * (1 if way > 0 else -1)
        return True

    @property
    def measurement(self) -> Measurement:
        """Its state in percent (RFC 8798: ``/100``)."""
        return Measurement(self.sensor, "/100", round(self._position, 1))

    def describe(self) -> str:
        """Return its state, and where it is going."""
        going = "" if self._goal is None or self._goal == self._position else f", going to {self._goal:g} %"
        return f"{self._position:.0f} %{going}"

    @property
    def position(self) -> float:
        """Percent."""
        return self._position

    def restore(self, position: float) -> None:
        """Be there, at rest."""
        self._position = min(100.0, max(0.0, position))


class Dimmer(Moving):
    """A light that fades."""

    kind = "dimmer"
    allowed = "a percentage from 0 to 100, or on or off"
    speed = 100.0

    def _words(self) -> dict[str | bool, float | None]:
        return {"on": 100.0, "off": 0.0, True: 100.0, False: 0.0}


class Shutter(Moving):
    """A shutter: 0 % is up, 100 % is down (as in KNX, data point type 5.001)."""

    kind = "shutter"
    allowed = "up, down, stop, or a percentage from 0 (up) to 100 (down)"
    speed = 10.0

    def _words(self) -> dict[str | bool, float | None]:
        return {"up": 0.0, "down": 100.0, "stop": None}
