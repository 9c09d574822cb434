from typing import Any

import pytest

from iot_node import actuators
from iot_node.actuators import RefusedError
from iot_node.errors import ConfigError


def made(word: str) -> actuators.Actuator:
    (actuator,) = actuators.create([word])
    return actuator


def test_a_light_fades():
    light = made("light")
    light.check(60)
    light.begin(60, 100.0)
    assert light.step(100.3)
    assert light.measurement == ("actuator/light", "/100", pytest.approx(30.0))
    assert light.describe() == "30 %, going to 60 %"
    assert not light.step(101.0)
    assert (light.position, light.describe()) == (60.0, "60 %")
    light.begin(False, 102.0)
    assert light.step(102.3)
    assert not light.step(102.7)
    assert light.describe() == "0 %"
    light.begin("on", 103.0)
    assert not light.step(105.0)
    assert light.position == 100.0


def test_a_shutter_takes_its_time_and_stops_where_it_is():
    shutter = made("window:shutter")
    shutter.begin("down", 0.0)
    assert shutter.step(4.0)
    shutter.begin("stop", 5.0)
    assert not shutter.step(5.0)
    assert shutter.position == pytest.approx(50.0)
    assert not shutter.step(100.0)
    assert shutter.measurement == ("actuator/window", "/100", pytest.approx(50.0))
    shutter.begin("up", 200.0)
    assert shutter.step(203.0)
    shutter.begin(60, 203.0)
    assert shutter.step(206.0)
    assert not shutter.step(207.0)
    assert shutter.position == 60.0


def test_what_is_at_once_what_it_is_told():
    socket, heating = made("socket"), made("heating")
    socket.begin("on", 0.0)
    assert socket.measurement == ("actuator/socket", "", True)
    assert (socket.describe(), socket.position, socket.step(1.0)) == ("on", 1.0, False)
    heating.begin(21.5, 0.0)
    assert heating.measurement == ("actuator/heating", "Cel", 21.5)
    assert (heating.describe(), heating.position, heating.step(1.0)) == ("21.5 °C", 21.5, False)


@pytest.mark.parametrize(
    ("word", "position"), [("light", 30.0), ("shutter", 70.0), ("switch", 1.0), ("setpoint", 18.0)]
)
def test_a_restart_moves_nothing(word: str, position: float):
    actuator = made(word)
    actuator.restore(position)
    assert actuator.position == position
    assert not actuator.step(1000.0)
    actuator.restore(1e9)
    assert actuator.position <= 100


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("light", [0, 100, 12.5, True, "off"]),
        ("shutter", [0, 100, "up", "down", "stop"]),
        ("socket", [True, False, "on", "off"]),
        ("heating", [5, 30, 21.5]),
    ],
)
def test_what_may_be_wanted(word: str, values: list[Any]):
    for value in values:
        made(word).check(value)


@pytest.mark.parametrize(
    ("word", "values", "words"),
    [
        ("light", [-1, 101, "up", None, float("nan")], "from 0 to 100, or on or off"),
        ("shutter", [-1, 101, True, "half", None], "up, down, stop, or a percentage"),
        ("socket", [0, 1, "up", None], "on or off"),
        ("heating", [4, 31, True, "warm", None], "from 5 to 30"),
    ],
)
def test_what_may_not(word: str, values: list[Any], words: str):
    for value in values:
        with pytest.raises(RefusedError, match=words) as refused:
            made(word).check(value)
        assert f"value={value!r}" in str(refused.value)


@pytest.mark.parametrize("words", [["toaster"], ["light:toaster"], ["Light"], ["a/b:dimmer"], [""], [":dimmer"]])
def test_what_is_no_actuator(words: list[str]):
    with pytest.raises(ConfigError, match="<name>:<kind> is expected"):
        actuators.create(words)


@pytest.mark.parametrize("words", [["light", "light:switch"], [f"l{number}:switch" for number in range(33)]])
def test_too_many(words: list[str]):
    with pytest.raises(ConfigError, match="at most 32, each name once"):
        actuators.create(words)
