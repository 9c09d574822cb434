"""What a profile is."""

from abc import ABC, abstractmethod
from typing import NamedTuple


class Measurement(NamedTuple):
    """One value of one sensor."""

    sensor: str
    """Name below the node's, such as ``humidity``."""
    unit: str
    """Symbol of the SenML units registry (RFC 8428, section 12.1)."""
    value: float | bool


class Profile(ABC):
    """A set of sensors that are read together."""

    @classmethod
    @abstractmethod
    def create(cls, seed: int) -> "Profile":
        """Make the profile; one that simulates takes its randomness from ``seed``."""

    @abstractmethod
    def sample(self, time: float) -> list[Measurement]:
        """Read every sensor once.

        Args:
            time: seconds since the epoch. A simulated sensor gives what it would show then.
        """
