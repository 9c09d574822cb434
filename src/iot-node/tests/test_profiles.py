from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_node import profiles
from iot_node.errors import UnknownProfileError

DAY = 86_400
NOON = 1_700_000_000 // DAY * DAY + DAY // 2
RANGES = {
    "object-temperature": ("Cel", 5, 40),
    "ambient-temperature": ("Cel", 5, 40),
    "humidity": ("%RH", 5, 100),
    "pressure": ("Pa", 98_000, 105_000),
    "light": ("lx", 0, 3000),
    "acceleration-x": ("m/s2", -1, 1),
    "acceleration-y": ("m/s2", -1, 1),
    "acceleration-z": ("m/s2", 9, 11),
    "magnetic-field-x": ("T", 0, 1e-4),
    "magnetic-field-y": ("T", -1e-4, 1e-4),
    "magnetic-field-z": ("T", 0, 1e-4),
    "rotation-x": ("rad/s", -0.5, 0.5),
    "rotation-y": ("rad/s", -0.5, 0.5),
    "rotation-z": ("rad/s", -0.5, 0.5),
}


def test_an_unknown_profile_is_refused_with_those_that_there_are():
    with pytest.raises(UnknownProfileError, match="no profile 'toaster': there are host, sensortag"):
        profiles.create("toaster", 1)


@settings(deadline=None)
@given(seed=st.integers(), time=st.floats(0, 4e9))
def test_a_sensortag_shows_what_a_room_might(seed: int, time: float):
    tag = profiles.create("sensortag", seed)
    for _ in range(3):
        found = tag.sample(time)
        assert [measurement.sensor for measurement in found] == list(RANGES)
        for sensor, unit, value in found:
            expected, low, high = RANGES[sensor]
            assert unit == expected
            assert low <= value <= high, sensor


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_seed_decides_the_signal(seed: int):
    one, same, other = (profiles.create("sensortag", s) for s in (seed, seed, seed + 1))
    times = [NOON + 5.0 * step for step in range(5)]
    first = [one.sample(time) for time in times]
    assert first == [same.sample(time) for time in times]
    assert first != [other.sample(time) for time in times]


def mean(sensor: str, time: float) -> float:
    values = [
        measurement.value
        for seed in range(20)
        for measurement in profiles.create("sensortag", seed).sample(time)
        if measurement.sensor == sensor
    ]
    return sum(values) / len(values)


def test_days_are_bright_and_warm_and_nights_are_not():
    assert mean("light", NOON) > 500 > 50 > mean("light", NOON + DAY / 2)
    assert mean("ambient-temperature", NOON + 3 * 3600) > mean("ambient-temperature", NOON - 9 * 3600) + 4
    assert mean("humidity", NOON + 3 * 3600) < mean("humidity", NOON - 9 * 3600) - 5


def test_the_host_shows_itself():
    found = {sensor: (unit, value) for sensor, unit, value in profiles.create("host", 1).sample(0)}
    assert found["memory-total"] == ("B", psutil.virtual_memory().total)
    assert 0 < found["memory-available"][1] < found["memory-total"][1]
    assert found["disk-total"][1] >= found["disk-free"][1] > 0
    assert 0 <= found["cpu-used"][1] <= 1
    assert found["load-1m"][0] == "count"


def test_temperatures_are_shown_where_there_are_any(monkeypatch: pytest.MonkeyPatch):
    chips = {
        "core/temp": [SimpleNamespace(label="Core 0", current=41.5), SimpleNamespace(label="", current=40.0)],
        "nvme": [SimpleNamespace(label="Composite", current=33.25), SimpleNamespace(label="Composite", current=99.0)],
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    found = profiles.create("host", 1).sample(0)
    assert [tuple(measurement) for measurement in found if measurement.unit == "Cel"] == [
        ("temperature-core-temp-core-0", "Cel", 41.5),
        ("temperature-core-temp-1", "Cel", 40.0),
        ("temperature-nvme-composite", "Cel", 33.25),
    ]


def test_a_system_without_such_sensors_has_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert all(measurement.unit != "Cel" for measurement in profiles.create("host", 1).sample(0))
