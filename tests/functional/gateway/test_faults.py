"""What breaks: the relay, the brokers, the disk. Nothing is lost, and the bound of what comes twice is kept."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemons import Mosquitto, RabbitMq
from relay_rig import BOUND, Node, Rig

from iot_telemetry.accounting import NodeReport


def sending(node: Node, messages: int, rate: float) -> threading.Thread:
    thread = threading.Thread(target=node.send, args=(messages,), kwargs={"rate": rate}, daemon=True)
    thread.start()
    return thread


def arrived(rig: Rig) -> NodeReport:
    (report,) = rig.account().values()
    return report


def test_killed_again_and_again_the_relay_loses_nothing(rig: Rig, node: Node):
    kills = 5
    thread = sending(node, 7500, rate=1500)
    for _ in range(kills):
        time.sleep(0.7)
        rig.relay.kill()
        rig.relay.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    distinct, duplicates, lost = arrived(rig)
    print(f"killed {kills} times: sent {node.sent}, arrived {distinct}, lost {lost}, duplicates {duplicates}")
    assert (distinct, lost) == (7500, 0)
    # What the relay had stored and not yet acknowledged to mosquitto comes again as well: its in-flight window there.
    assert duplicates <= kills * (BOUND + 2000)


def test_stopped_in_order_the_relay_repeats_nothing(rig: Rig, node: Node):
    thread = sending(node, 3000, rate=1500)
    time.sleep(0.6)
    rig.relay.stop()
    rig.relay.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    assert arrived(rig) == NodeReport(3000, 0, 0)


def test_the_queues_broker_killed(rig: Rig, node: Node, rabbitmq: RabbitMq):
    thread = sending(node, 6000, rate=1000)
    time.sleep(0.5)
    rabbitmq.kill()
    rig.wait_for(lambda status: not status["uplink"]["connected"] and status["behind_seconds"] > 1, "the relay behind")
    rabbitmq.start()
    rig.wait_for(lambda status: status["uplink"]["connected"], "connected again")
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    distinct, duplicates, lost = arrived(rig)
    assert (distinct, lost) == (6000, 0)
    assert duplicates <= BOUND


def test_the_nodes_broker_stopped_and_started(rig: Rig, node: Node, mosquitto: Mosquitto):
    node.send(500)
    node.close()
    rig.wait_until_empty()
    mosquitto.stop()
    rig.wait_for(lambda status: not status["listeners"]["mqtt"]["connected"], "the fault shown")
    mosquitto.start()
    rig.wait_for(lambda status: status["listeners"]["mqtt"]["connected"], "connected again")
    again = Node(mosquitto.port)
    again.sent = 500
    again.send(500)
    again.close()
    rig.wait_until_empty()
    assert arrived(rig) == NodeReport(1000, 0, 0)


def test_what_is_sent_while_the_relay_is_away_is_there_when_it_returns(rig: Rig, node: Node):
    rig.relay.kill()
    node.send(5000)
    node.close()
    rig.relay.start()
    rig.wait_until_empty()
    assert arrived(rig) == NodeReport(5000, 0, 0)


def test_a_full_outbox_acknowledges_nothing_and_recovers(make_rig: Callable[..., Rig], node: Node, tmp_path: Path):
    rig = make_rig(outbox=f'{{directory = "{tmp_path}/outbox", max_bytes = 1048576, segment_bytes = 131072}}')
    rig.relay.start()
    name = rig.names["telemetry"]
    with rig.channel() as channel:
        channel.queue_unbind(name, name, "#")
    node.send(3000, padding=600)
    status = rig.wait_for(lambda status: status["refusal"], "the refusal shown")
    assert status["outbox"]["telemetry"]["bytes"] <= 1048576
    stored = status["outbox"]["telemetry"]["entries"]
    assert 0 < stored < 3000
    assert rig.relay.log.read_text().count("nothing more is acknowledged") == 1
    time.sleep(0.5)
    assert rig.relay.status()["outbox"]["telemetry"]["entries"] == stored
    with rig.channel() as channel:
        channel.queue_bind(name, name, "#")
    node.close()
    assert rig.wait_until_empty()["refusal"] is None
    assert arrived(rig) == NodeReport(3000, 0, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small-disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_acknowledges_nothing_and_recovers_when_there_is_space(
    make_rig: Callable[..., Rig], node: Node, small_disk: Path
):
    rig = make_rig(outbox=f'{{directory = "{small_disk}/outbox"}}')
    rig.relay.start()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        written = 0
        try:
            while True:
                written += file.write(bytes(4096))
        except OSError:
            pass
    assert written
    node.send(200)
    status = rig.wait_for(lambda status: status["refusal"], "the refusal shown")
    assert "No space left" in status["refusal"]
    assert "No space left" in rig.relay.log.read_text()
    ballast.unlink()
    node.send(200)
    node.close()
    assert rig.wait_until_empty()["refusal"] is None
    assert arrived(rig) == NodeReport(400, 0, 0)
    rig.close()
    rig.declare()  # the fixture closes once more
