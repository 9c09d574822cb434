import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Mosquitto

from iot_node.agent import Status, read_status

Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(config_file: Path) -> Iterator[Start]:
    """Starts the agent as its service would."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "iot_node", "run", "--config", str(config_file)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def status(config_file: Path) -> Status:
    return read_status(config_file.parent / "state")


def numbers(watcher, sensor: str = "humidity") -> list[int]:
    return [record.seq for record in watcher.records() if record.name == f"node-1/{sensor}"]


def wait_for(condition: Callable[[], bool], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_pack_at_every_interval(watcher, config_file: Path, start: Start):
    agent = start()
    watcher.wait(lambda records: len(records) >= 14 * 10)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0
    topics = {topic for topic, _ in watcher.packs()}
    assert topics == {"telemetry/node-1"}
    times = [records[0].time for _, records in watcher.packs()]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(0.05 < gap < 0.5 for gap in gaps)
    assert numbers(watcher) == list(range(len(times)))
    found = status(config_file)
    assert found.waiting == 0
    assert found.acknowledged == found.sampled == len(times)
    assert abs(found.last_acknowledged - time.time()) < 10


def test_counting_goes_on_after_a_restart_and_after_a_kill(watcher, start: Start):
    first = start()
    wait_for(lambda: len(numbers(watcher)) >= 5)
    first.send_signal(signal.SIGTERM)
    first.wait(10)
    second = start()
    wait_for(lambda: len(numbers(watcher)) >= 15)
    second.kill()
    second.wait()
    killed_at = max(numbers(watcher))
    third = start()
    wait_for(lambda: max(numbers(watcher)) >= killed_at + 5)
    third.send_signal(signal.SIGTERM)
    third.wait(10)
    seen = Counter(numbers(watcher))
    assert sorted(seen) == list(range(max(seen) + 1)), "none left out, none used for two readings"
    by_number: dict[int, set[float]] = {}
    for record in watcher.records():
        if record.name == "node-1/humidity":
            by_number.setdefault(record.seq, set()).add(record.time)
    assert all(len(times) == 1 for times in by_number.values())


def test_an_outage_of_the_gateway_costs_nothing(broker: Mosquitto, watcher, config_file: Path, start: Start):
    agent = start()
    wait_for(lambda: len(numbers(watcher)) >= 5)
    broker.stop()
    wait_for(lambda: status(config_file).waiting >= 30)  # more than may be in flight
    assert not status(config_file).connected
    assert "127.0.0.1" in status(config_file).problem
    agent.kill()  # the node loses power, too
    agent.wait()
    start()
    broker.start()
    wait_for(lambda: status(config_file).waiting < 3 and status(config_file).connected, timeout=40)
    wait_for(lambda: max(numbers(watcher)) > 40)
    seen = set(numbers(watcher))
    assert seen == set(range(max(seen) + 1))


def test_a_refusal_is_told_and_the_packs_are_kept(broker: Mosquitto, config_file: Path, start: Start):
    (broker.directory / "acl").write_text("user watcher\ntopic read #\n")
    broker.signal(signal.SIGHUP)
    time.sleep(0.5)
    start()
    wait_for(lambda: "refuses packs: Not authorized" in status_or_nothing(config_file))
    assert status(config_file).connected
    assert status(config_file).acknowledged == 0
    assert status(config_file).waiting > 0


def status_or_nothing(config_file: Path) -> str:
    path = config_file.parent / "state/status.json"
    return json.loads(path.read_text())["problem"] if path.exists() else ""


def test_real_readings_of_the_host(watcher, config_file: Path, start: Start):
    config_file.write_text('profiles = ["host", "sensortag"]\n' + config_file.read_text())
    start()
    watcher.wait(lambda records: len(records) > 0)
    _, records = watcher.packs()[0]
    found = {record.name.removeprefix("node-1/"): record for record in records}
    lines = Path("/proc/meminfo").read_text().splitlines()
    memory = int(next(line.split()[1] for line in lines if line.startswith("MemTotal"))) * 1024
    assert found["memory-total"].value == memory
    assert found["memory-total"].unit == "B"
    assert found["object-temperature"].unit == "Cel"


def test_the_agent_refuses_credentials_that_others_can_read(config_file: Path, start: Start):
    (config_file.parent / "credentials.json").chmod(0o644)
    agent = start()
    assert agent.wait(10) == 1
    assert "chmod 600" in agent.stderr.read()
