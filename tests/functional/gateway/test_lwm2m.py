"""LwM2M at a running relay, by a node that is not ours: Eclipse Leshan's client (LwM2M 1.0, TLV)."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import free_port, needed, wait_until
from relay_rig import Rig

from iot_gateway import control
from iot_gateway.nodes import Node, file

NAME = "leshan"
HERE = Path(__file__).parent / "leshan"
CACHE = Path(os.environ.get("IOT_CACHE") or "/var/cache/iot-analytics") / "leshan-1.5.0"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command that runs the node, less its arguments."""
    if not any(CACHE.glob("leshan-client-cf-*.jar")):
        fetch = [needed("mvn", "maven"), "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        subprocess.run([*fetch, f"-DoutputDirectory={CACHE}"], check=True, timeout=240)
    classes = tmp_path_factory.mktemp("leshan")
    compiler = needed("javac", "openjdk-17-jdk-headless")
    source = str(HERE / "LeshanNode.java")
    subprocess.run([compiler, "-cp", f"{CACHE}/*", "-d", str(classes), source], check=True, timeout=120)
    return [needed("java", "openjdk-17-jre-headless"), "-Xmx64m", "-cp", f"{CACHE}/*:{classes}", "LeshanNode"]


class LeshanNode:
    """The node, told on its standard input what to do."""

    def __init__(self, program: list[str], port: int, binding: str):
        arguments = [f"coap://127.0.0.1:{port}", NAME, "300", binding]
        self._process = subprocess.Popen(
            [*program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout
        self.said += (line.strip() for line in self._process.stdout)

    def tell(self, words: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def quit(self) -> None:
        if self._process.poll() is None:
            self.tell("quit")
            self._process.communicate(timeout=20)


@pytest.fixture
def lwm2m(make_rig: Callable[..., Rig]) -> Rig:
    """A rig whose relay is an LwM2M server as well."""
    settings = (
        f"[listeners.coap]\nport = {free_port()}\nallow_plain = true\n[listeners.coap.lwm2m]\nawake_seconds = 2\n"
    )
    rig = make_rig(tls=settings)
    (rig.directory / "nodes.json").write_text(file.text([Node(NAME)]))
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["coap"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return rig


@pytest.fixture
def start(program: list[str], lwm2m: Rig) -> Iterator[Callable[[str], LeshanNode]]:
    started: list[LeshanNode] = []
    port = int(lwm2m.settings["tls"].partition("port = ")[2].split()[0])

    def make(binding: str) -> LeshanNode:
        started.append(LeshanNode(program, port, binding))
        return started[-1]

    yield make
    for each in started:
        each.quit()


def figures(status: dict[str, Any]) -> dict[str, Any]:
    return status["listeners"]["coap"]["lwm2m"]


def ask(rig: Rig, do: str, **fields: Any) -> Any:
    return control.ask(rig.directory / "status-control.sock", {"do": do, **fields})


def values(rig: Rig) -> dict[str, Any]:
    return {
        reading.sensor: next(given for given in (reading.value, reading.text, reading.flag) if given is not None)
        for reading in rig.readings()
    }


def test_its_values_become_readings_and_commands_reach_it(lwm2m: Rig, start: Callable[[str], LeshanNode]):
    node = start("U")
    lwm2m.wait_for(lambda status: figures(status)["observations"] == 3, "its observations", 60)
    lwm2m.wait_for(lambda status: status["confirmed"] >= 6, "its first values confirmed")
    assert values(lwm2m) == {
        "temperature/0": 21.5,
        "accelerometer/0/x": 0.5,
        "accelerometer/0/y": 0.25,
        "accelerometer/0/z": 9.75,
        "light/0/on": True,
        "light/0/dimmer": 40,
    }
    node.tell("set 3303 5700 22.25")
    lwm2m.wait_for(lambda status: status["confirmed"] >= 7, "a change confirmed")
    assert values(lwm2m)["temperature/0"] == 22.25

    ask(lwm2m, "send-command", id="dim", node=NAME, target="light/0/dimmer", value=60.0)
    ask(lwm2m, "send-command", id="reset", node=NAME, target="/3303/0/5605")
    ask(lwm2m, "send-command", id="wrong", node=NAME, target="/3303/0/5700", value=1.0)
    lwm2m.wait_for(lambda status: status["commands"]["open"] == 0, "the commands at their end")
    states = {command["id"]: (command["state"], command["reason"]) for command in ask(lwm2m, "list-commands")}
    assert states["dim"][0] == states["reset"][0] == "applied"
    assert states["wrong"] == ("refused", "4.05 Method Not Allowed")
    assert node.said == ["written 3311 5851 60", "executed 3303 5605"]
    # What was written is observed as well.
    lwm2m.wait_for(lambda status: status["confirmed"] >= 9, "the lamp's values confirmed")
    assert values(lwm2m)["light/0/dimmer"] == 60
    node.quit()
    lwm2m.wait_for(lambda status: figures(status)["registered"] == 0, "its farewell")


def test_a_command_waits_until_it_is_awake(lwm2m: Rig, start: Callable[[str], LeshanNode]):
    node = start("UQ")
    lwm2m.wait_for(lambda status: figures(status)["observations"] == 3, "its observations", 60)
    assert figures(lwm2m.relay.status())["queue_mode"] == 1
    threading.Event().wait(2.5)
    ask(lwm2m, "send-command", id="dim", node=NAME, target="light/0/dimmer", value=60.0)
    threading.Event().wait(1)
    assert lwm2m.relay.status()["commands"]["by_state"]["queued"] == 1
    assert node.said == []
    node.tell("update")
    wait_until(lambda: node.said == ["written 3311 5851 60"], 20, "the command to arrive")
    lwm2m.wait_for(lambda status: status["commands"]["by_state"]["applied"] == 1, "the command applied")


def test_it_is_still_observed_after_a_kill(lwm2m: Rig, start: Callable[[str], LeshanNode]):
    node = start("U")
    lwm2m.wait_for(lambda status: figures(status)["observations"] == 3, "its observations", 60)
    # Registrations are written down every few seconds.
    wait_until((lwm2m.directory / "listeners/coap/registrations.json").exists, 15, "its registration on disk")
    lwm2m.relay.kill()
    lwm2m.relay.start()
    lwm2m.wait_for(lambda status: figures(status)["observations"] == 3, "its observations again")
    node.tell("set 3303 5700 23.75")
    lwm2m.wait_for(lambda status: figures(status)["notifications"] >= 1, "a change")
    lwm2m.wait_until_empty()
    assert values(lwm2m)["temperature/0"] == 23.75
