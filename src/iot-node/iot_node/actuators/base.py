"""What an actuator is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from iot_node.errors import NodeError
from iot_node.profiles import Measurement

Value = float | str | bool | None
"""What a command wants of its target, as JSON has it."""


class RefusedError(NodeError):
    """A command can't be done here; the text says why, for whoever gave it."""


class Actuator(ABC):
    """Something that commands set. A simulated one takes the time that a real one takes.

    Times are seconds on one clock that never goes back.
    """

    kind: ClassVar[str]
    allowed: ClassVar[str]
    """What may be wanted of it, in words."""

    def __init__(self, name: str):
        self.name = name

    @property
    def sensor(self) -> str:
        """The name under which its state is reported: never that of a sensor."""
        return f"actuator/{self.name}"

    @abstractmethod
    def check(self, value: Value) -> None:
        """See whether a value may be wanted.

        Raises:
            RefusedError: it may not.
        """

    @abstractmethod
    def begin(self, value: Value, now: float) -> None:
        """Begin to do what a command wants, in place of what is under way; the value has been checked."""

    @abstractmethod
    def step(self, now: float) -> bool:
        """Let time pass; return whether it is still under way."""

    @property
    @abstractmethod
    def measurement(self) -> Measurement:
        """Its state, as a reading."""

    @abstractmethod
    def describe(self) -> str:
        """Return its state in words, such as ``60 %``."""

    @property
    @abstractmethod
    def position(self) -> float:
        """Its state, for the disk."""

    @abstractmethod
    def restore(self, position: float) -> None:
        """Be where :attr:`position` once said."""

    def refuse(self, value: Value) -> RefusedError:
        """Return the refusal of a value."""
        return RefusedError(f"value={value!r}: {self.name} takes {self.allowed}")


def is_number(value: Value, low: float, high: float) -> bool:
    """Tell whether a value is a number within bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
