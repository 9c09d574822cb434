"""A simulated TI SensorTag (CC2650STK): its sensors, and signals such as it would give in a room with a window.

Every signal is a curve of the time of day plus noise. The noise is drawn from a generator of its own, so that the
same seed and the same times give the same values on every machine.
"""

import random
from math import pi, sin
from typing import Final, Self

from iot_node.profiles.base import Measurement, Profile

_DAY_S: Final = 86_400.0
_STANDARD_GRAVITY: Final = 9.80665
_WEATHER_S: Final = 3.3 * _DAY_S
"""Period of the air pressure's swing: about that of passing lows."""


class _Drift:
    """Noise with a memory: a first-order autoregression, of standard deviation ``scale`` in the long run."""

    def __init__(self, noise: random.Random, scale: float, memory: float = 0.98):
        self._noise = noise
        self._memory = memory
        self._step = scale * (1 - memory**2) ** 0.5
        self._value = noise.gauss(0.0, scale)

    def next(self) -> float:
        self._value = self._memory * self._value + self._noise.gauss(0.0, self._step)
        return self._value


class SensorTag(Profile):
    """Fourteen sensors: two temperatures, humidity, pressure, light, and three axes each of three."""

    def __init__(self, seed: int):
        self._noise = random.Random(seed)  # noqa: S311 - a signal, not a secret
        self._ambient = _Drift(self._noise, 0.4)
        self._object = _Drift(self._noise, 0.6)
        self._humidity = _Drift(self._noise, 1.5)
        self._pressure = _Drift(self._noise, 40.0, memory=0.999)
        self._clouds = _Drift(self._noise, 0.2)
        self._heading = _Drift(self._noise, 1e-6)

    @classmethod
    def create(cls, seed: int) -> Self:
        """Make one whose noise comes from ``seed``."""
        return cls(seed)

    def sample(self, time: float) -> list[Measurement]:
        """Read every sensor once.

        Returns:
            Temperatures in degrees Celsius, relative humidity in percent, pressure in pascal (the registry's primary
            unit; RFC 8798 keeps hPa for displays), illuminance in lux, acceleration in m/s2, magnetic flux density in
            tesla, angular velocity in rad/s (composed as the registry's m/s is: it has no symbol for a rate of
            rotation).
        """
        gauss = self._noise.gauss
        day = 2 * pi * time / _DAY_S
        # Warmest at 15:00 UTC, brightest at noon.
        ambient = 21.0 + 3.0 * sin(day - 0.75 * pi) + self._ambient.next()
        target = ambient + 1.5 + self._object.next()
        humidity = min(100.0, max(5.0, 48.0 - 2.2 * (ambient - 21.0) + self._humidity.next()))
        pressure = 101_325.0 + 600.0 * sin(2 * pi * time / _WEATHER_S) + self._pressure.next()
        sun = max(0.0, sin(day - 0.5 * pi))
        light = max(0.0, 900.0 * sun * (1.0 + self._clouds.next()) + gauss(2.0, 0.5))
        heading = self._heading.next()
        return [
            Measurement("object-temperature", "Cel", round(target, 3)),
            Measurement("ambient-temperature", "Cel", round(ambient, 3)),
            Measurement("humidity", "%RH", round(humidity, 2)),
            Measurement("pressure", "Pa", round(pressure, 1)),
            Measurement("light", "lx", round(light, 2)),
            Measurement("acceleration-x", "m/s2", round(gauss(0.0, 0.02), 4)),
            Measurement("acceleration-y", "m/s2", round(gauss(0.0, 0.02), 4)),
            Measurement("acceleration-z", "m/s2", round(gauss(_STANDARD_GRAVITY, 0.02), 4)),
            Measurement("magnetic-field-x", "T", round(20e-6 + heading + gauss(0.0, 2e-7), 9)),
            Measurement("magnetic-field-y", "T", round(-heading + gauss(0.0, 2e-7), 9)),
            Measurement("magnetic-field-z", "T", round(43e-6 + gauss(0.0, 2e-7), 9)),
            Measurement("rotation-x", "rad/s", round(gauss(0.0, 0.005), 5)),
            Measurement("rotation-y", "rad/s", round(gauss(0.0, 0.005), 5)),
            Measurement("rotation-z", "rad/s", round(gauss(0.0, 0.005), 5)),
        ]
