import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import Mosquitto, free_port

from iot_node.config import Credentials, Gateway
from iot_node.errors import LinkError
from iot_node.generator import Run, generate

RUN = Run(node="node-1", name="run-1", count=20_000, rate=0, seed=1, timeout=20)


def quiet(_: str) -> None:
    pass


def test_every_reading_arrives_once_and_is_counted(watcher, gateway: Gateway, credentials: Credentials):
    summary = generate(RUN, gateway, credentials, quiet)
    assert (summary.node, summary.sent, summary.acknowledged) == ("node-1:run-1", 20_000, 20_000)
    watcher.wait(lambda records: len(records) >= 20_000)
    assert {topic for topic, _ in watcher.packs()} == {"telemetry/node-1"}
    sequences: dict[str, list[int]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    for record in watcher.records():
        sequences[record.name].append(record.seq)
        times[record.name].append(record.time)
    assert len(sequences) == 14
    assert all(name.startswith("node-1:run-1/") for name in sequences)
    assert all(numbers == list(range(len(numbers))) for numbers in sequences.values())
    assert all(earlier < later for found in times.values() for earlier, later in itertools.pairwise(found))
    assert abs(times["node-1:run-1/humidity"][-1] - time.time()) < 60
    print(f"{summary.rate:,.0f} readings/s")


def test_the_rate_is_kept_and_progress_told(watcher, gateway: Gateway, credentials: Credentials):
    lines: list[str] = []
    summary = generate(dataclasses.replace(RUN, count=2000, rate=500), gateway, credentials, lines.append)
    assert 3.5 < summary.seconds < 6
    assert lines
    assert "of 2,000 sent" in lines[0]
    watcher.wait(lambda records: len(records) == 2000)


@pytest.mark.parametrize("end", [Mosquitto.stop, Mosquitto.kill])
def test_a_run_survives_an_outage_of_the_gateway(
    broker: Mosquitto, watcher, gateway: Gateway, credentials: Credentials, end: Callable[[Mosquitto], object]
):
    run = dataclasses.replace(RUN, count=6000, rate=1000)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(generate, run, gateway, credentials, quiet)
        time.sleep(2)
        end(broker)
        time.sleep(1.5)
        broker.start()
        summary = running.result(timeout=60)
    assert (summary.sent, summary.acknowledged) == (6000, 6000)
    # A mosquitto that is killed forgets its subscribers and what it acknowledged but had not passed on, which no
    # publisher can make up for; one that is stopped in order keeps both.
    if end is Mosquitto.stop:
        watcher.wait(lambda records: len({(record.name, record.seq) for record in records}) == 6000)


def test_gives_up_with_the_reason_when_nobody_listens(gateway: Gateway, credentials: Credentials):
    nowhere = dataclasses.replace(gateway, port=free_port())
    reason = r"gave up after 2 s: 127.0.0.1:\d+ can't be reached: .*refused; 0 of 20,000 sent"
    with pytest.raises(LinkError, match=reason):
        generate(dataclasses.replace(RUN, timeout=2), nowhere, credentials, quiet)


def test_gives_up_with_the_reason_when_the_password_is_wrong(gateway: Gateway):
    with pytest.raises(LinkError, match="refuses the connection: Not authorized"):
        generate(dataclasses.replace(RUN, timeout=3), gateway, Credentials("node-1", "wrong"), quiet)


def test_says_that_the_gateway_refuses_another_nodes_topic(gateway: Gateway, credentials: Credentials):
    with pytest.raises(LinkError, match="refuses what node-2 sends: Not authorized"):
        generate(dataclasses.replace(RUN, node="node-2", timeout=5), gateway, credentials, quiet)


def iot_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iot_node", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_ends_with_a_summary_on_standard_output(watcher, config_file: Path):
    done = iot_node("generate", "--config", str(config_file), "--count", "700", "--seed", "7", "--subnode", "a")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["node"], summary["sent"], summary["acknowledged"]) == ("node-1:a", 700, 700)
    again = iot_node("generate", "--config", str(config_file), "--count", "700", "--seed", "7", "--subnode", "b")
    assert again.returncode == 0, again.stderr
    watcher.wait(lambda records: len(records) == 1400)
    values = {
        run: [record.value for record in watcher.records() if record.name.startswith(f"node-1:{run}/")] for run in "ab"
    }
    assert values["a"] == values["b"]
    assert len(values["a"]) == 700


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--count", "-1", "at least 1"),
        ("--count", "0", "at least 1"),
        ("--rate", "-5", "at least 0"),
        ("--rate", "nan", "at least 0"),
        ("--subnode", "a/b", "letters, digits, _ and -"),
    ],
)
def test_the_command_refuses_bad_input(config_file: Path, option: str, value: str, words: str):
    done = iot_node("generate", "--config", str(config_file), "--count", "10", f"{option}={value}")
    assert done.returncode == 2
    assert words in done.stderr
    assert value in done.stderr
