"""Actuators that are at once what they are told to be."""

from iot_node.actuators.base import Actuator, Value, is_number
from iot_node.profiles import Measurement

_ON: dict[Value, bool] = {True: True, False: False, "on": True, "off": False}


class Switch(Actuator):
    """On or off."""

    kind = "switch"
    allowed = "on or off (true or false)"

    def __init__(self, name: str):
        super().__init__(name)
        self._is_on = False

    def check(self, value: Value) -> None:
        """See whether a value may be wanted; see :class:`Actuator`."""
        if not isinstance(value, bool | str) or value not in _ON:
            raise self.refuse(value)

    def begin(self, value: Value, now: float) -> None:  # noqa: ARG002
        """Switch."""
        self._is_on = _ON[value]

    def step(self, now: float) -> bool:  # noqa: ARG002
        """Nothing takes time."""
        return False

    @property
    def measurement(self) -> Measurement:
        """Its state as a truth value."""
        return Measurement(self.sensor, "", self._is_on)

    def describe(self) -> str:
        """Return its state."""
        return "on" if self._is_on else "off"

    @property
    def position(self) -> float:
        """1 for on."""
        return float(self._is_on)

    def restore(self, position: float) -> None:
        """Be on or off."""
        self._is_on = bool(position)


class SetPoint(Actuator):
    """A temperature that something else is to reach."""

    kind = "setpoint"
    low, high = 5.0, 30.0
    allowed = f"degrees Celsius from {low:g} to {high:g}"

    def __init__(self, name: str):
        super().__init__(name)
        self._wanted = 20.0

    def check(self, value: Value) -> None:
        """See whether a value may be wanted; see :class:`Actuator`."""
        if not is_number(value, self.low, self.high):
            raise self.refuse(value)

    def begin(self, value: Value, now: float) -> None:  # noqa: ARG002
        """Set."""
        assert isinstance(value, int | float)  # noqa: S101 - it has been checked
        self._wanted = float(value)

    def step(self, now: float) -> bool:  # noqa: ARG002
        """Nothing takes time."""
        return False

    @property
    def measurement(self) -> Measurement:
        """The temperature that is wanted."""
        return Measurement(self.sensor, "Cel", self._wanted)

    def describe(self) -> str:
        """Return its state."""
        return f"{self._wanted:g} °C"

    @property
    def position(self) -> float:
        """Degrees Celsius."""
        return self._wanted

    def restore(self, position: float) -> None:
        """Want that again."""
        self._wanted = min(self.high, max(self.low, position))
