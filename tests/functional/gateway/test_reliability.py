"""Faults again and again, at moments nobody chose. Each round ends in: what was sent is in the broker, none lost.

By default each takes seconds; ``--thorough`` gives them the rounds and minutes that a release deserves.
"""

import random
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import RabbitMq
from hostile import payloads
from link import Link
from raw_mqtt import RawClient
from relay_rig import BOUND, NODE, NODE_PASSWORD, ON_ITS_WAY, Node, Rig, readings_of

from iot_gateway.errors import NotRunningError
from iot_telemetry import Reading
from iot_telemetry.accounting import NodeReport

MakeRig = Callable[..., Rig]
OUTAGES = {False: [[2, 1]], True: [[120], [60, 5, 1]]}
"""Seconds, one after the other; those of a release in pieces of two minutes."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """There are longer outages, if there is time for them."""
    if "outages" in metafunc.fixturenames:
        metafunc.parametrize("outages", OUTAGES[metafunc.config.getoption("--thorough")], ids=str)


class Sending:
    """A node that sends until it is told to stop."""

    def __init__(self, rig: Rig, rate: float = 800, padding: int = 0):
        self.node = Node(rig.port)
        self._rate, self._padding = rate, padding
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begin, sent = time.monotonic(), 0
        while not self._stop.is_set():
            self.node.publish(self.node.payload(padding=self._padding))
            sent += 1
            if (ahead := sent / self._rate - (time.monotonic() - begin)) > 0.005:
                time.sleep(ahead)

    def stop(self) -> int:
        """Stop, wait for the last acknowledgement, and return how many readings were sent."""
        self._stop.set()
        self._thread.join(90)
        self.node.close()
        return self.node.sent


@pytest.fixture
def link(rabbitmq: RabbitMq) -> Iterator[Link]:
    made = Link(rabbitmq.port)
    yield made
    made.close()


def started(make_rig: MakeRig, **settings: Any) -> Rig:
    rig = make_rig(**settings)
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return rig


@pytest.mark.timeout(600)
@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_the_uplink_cut_and_healed(make_rig: MakeRig, link: Link, order: str, outages: list[int]):
    rig = started(make_rig, uplink_port=link.port, resend=f'{{order = "{order}"}}')
    sending = Sending(rig)
    for seconds in outages:
        time.sleep(1)
        link.cut_for(seconds)
        rig.wait_for(lambda status: status["uplink"]["connected"], "the link back", timeout=60)
    sent = sending.stop()
    rig.wait_until_empty(120)
    seconds = ", ".join(map(str, outages))
    rig.settle(f"uplink cut for {seconds} s, {order}", len(outages), sent, len(outages) * BOUND)
    log = rig.relay.log.read_text()
    assert "no reason known" not in log
    assert log.count("the uplink is lost (") == log.count("the uplink is back after") == len(outages)


def test_newest_first_what_comes_does_not_wait_for_what_waited(make_rig: MakeRig, link: Link):
    rig = started(make_rig, uplink_port=link.port, resend='{order = "newest-first", rate = 500}')
    node = Node(rig.port)
    link.cut()
    rig.wait_for(lambda status: not status["uplink"]["connected"], "the link gone")
    node.send(3000)
    link.heal()
    rig.wait_for(lambda status: status["uplink"]["connected"], "the link back", timeout=60)
    begin = time.monotonic()
    node.send(200)
    node.close()
    rig.wait_for(lambda status: status["confirmed"] >= 400, "what is live confirmed")
    assert rig.relay.status()["outbox"]["telemetry"]["entries"] > 1000
    rig.wait_until_empty()
    assert time.monotonic() - begin > 4, "3000 readings at 500 a second"
    order = [reading.seq for reading in rig.readings()]
    assert sorted(order) == list(range(3200))
    assert order.index(3199) < order.index(1500) < order.index(2999)
    assert "all that waited for the uplink is sent" in rig.relay.log.read_text()


def test_a_link_that_swallows_everything(make_rig: MakeRig, link: Link):
    rig = started(make_rig, uplink_port=link.port, uplink="heartbeat = 5")
    sending = Sending(rig)
    time.sleep(0.5)
    link.stall()
    rig.wait_for(lambda status: not status["uplink"]["connected"], "the silence noticed", timeout=30)
    link.cut()
    link.heal()
    rig.wait_for(lambda status: status["uplink"]["connected"], "the link back", timeout=60)
    sent = sending.stop()
    rig.wait_until_empty()
    rig.settle("uplink that swallows all", 1, sent, BOUND)


@pytest.mark.timeout(600)
def test_the_broker_restarted(make_rig: MakeRig, rabbitmq: RabbitMq, thorough: bool):
    rig = started(make_rig)
    sending = Sending(rig)
    rounds = 5 if thorough else 1
    for _ in range(rounds):
        time.sleep(0.5)
        rabbitmq.stop()
        time.sleep(0.5)
        rabbitmq.start()
        rig.wait_for(lambda status: status["uplink"]["connected"], "connected again", timeout=60)
    sent = sending.stop()
    rig.wait_until_empty(90)
    rig.settle("RabbitMQ restarted", rounds, sent, rounds * BOUND)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
def test_killed_at_random_moments(make_rig: MakeRig, link: Link, order: str, thorough: bool):
    rig = started(make_rig, uplink_port=link.port, resend=f'{{order = "{order}"}}')
    chance = random.Random(order)
    sending = Sending(rig)
    rounds = 50 if thorough else 5
    cuts = 0
    for number in range(rounds):
        # In every third round the link was away, so that there is a backlog to be killed in.
        if number % 3 == 0:
            link.cut_for(chance.uniform(0.1, 0.5))
            cuts += 1
        time.sleep(chance.uniform(0.05, 0.6))
        rig.relay.kill()
        rig.relay.start()
    sent = sending.stop()
    rig.wait_until_empty(120)
    bound = rounds * (BOUND + ON_ITS_WAY) + cuts * BOUND
    rig.settle(f"relay killed, the uplink cut in every third round, {order}", rounds, sent, bound)


def test_a_full_outbox_drops_the_oldest_if_it_is_told_to(make_rig: MakeRig, link: Link, tmp_path: Path):
    outbox = f'{{directory = "{tmp_path}/outbox", max_bytes = 1048576, full = "drop-oldest"}}'
    rig = started(make_rig, uplink_port=link.port, outbox=outbox)
    node = Node(rig.port)
    node.send(100)
    rig.wait_until_empty()
    link.cut()
    rig.wait_for(lambda status: not status["uplink"]["connected"], "the link gone")
    node.send(4000, padding=600)
    node.close()
    status = rig.wait_for(lambda status: not status["waiting_bytes"], "all stored")
    assert status["refusal"] is None
    dropped = status["outbox"]["telemetry"]["dropped_total"]["bytes"]
    assert dropped + status["outbox"]["telemetry"]["entries"] == 4000
    # A kill changes nothing about it.
    rig.relay.kill()
    rig.relay.start()
    telemetry = rig.relay.status()["outbox"]["telemetry"]
    assert (telemetry["dropped_total"]["bytes"], telemetry["entries"]) == (dropped, 4000 - dropped)
    link.heal()
    rig.wait_until_empty()
    seqs = [reading.seq for reading in rig.readings()]
    print(f"sent 4100, dropped {dropped}, arrived {len(seqs)}")
    assert seqs == [*range(100), *range(100 + dropped, 4100)]
    log = rig.relay.log.read_text()
    assert log.count("the oldest entries are being dropped, since there is no room") == 1
    assert "% full" in log


CLOCK = """
import mmap, runpy, struct, sys, time
with open(sys.argv[1], "rb") as file:
    offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + struct.unpack("d", offset[:8])[0]
time.time_ns = lambda: int(time.time() * 1e9)
sys.argv = ["iot_gateway", *sys.argv[2:]]
runpy.run_module("iot_gateway", run_name="__main__")
"""


def test_a_clock_that_jumps(make_rig: MakeRig, link: Link, tmp_path: Path):
    outbox = f'{{directory = "{tmp_path}/outbox", max_age = 600}}'
    rig = make_rig(uplink_port=link.port, outbox=outbox)
    (tmp_path / "clock.py").write_text(CLOCK)
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("d", 0.0))
    rig.relay._command[1:3] = [str(tmp_path / "clock.py"), str(offset)]
    assert rig.relay._command[0] == sys.executable
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")

    def jump(seconds: float) -> None:
        # In place: the relay has the file mapped.
        with offset.open("r+b") as file:
            file.write(struct.pack("d", seconds))

    node = Node(rig.port)
    node.send(200)
    link.cut()
    rig.wait_for(lambda status: not status["uplink"]["connected"], "the link gone")
    node.send(200)
    jump(-3600)
    node.send(200)
    assert rig.relay.status()["behind_seconds"] < 60
    # Right by a time server, after a start in 1970: all that waits must not be half a century old.
    jump(+50 * 365 * 86400)
    node.send(200)
    time.sleep(1.2)
    assert rig.relay.status()["behind_seconds"] < 60
    jump(-7200)
    rig.relay.kill()
    rig.relay.start()
    node.send(200)
    assert rig.relay.status()["behind_seconds"] < 60
    link.heal()
    node.close()
    status = rig.wait_until_empty()
    assert status["outbox"]["telemetry"]["dropped_total"] == {"bytes": 0, "age": 0}
    rig.settle("clock that jumps by -1 h, +50 a, -2 h, relay killed", 1, 1000, BOUND + ON_ITS_WAY)


@pytest.mark.timeout(600)
def test_hostile_payloads(make_rig: MakeRig, part: int, thorough: bool):
    # Dead letters are sent one by one: with a window as large as the relay's own default they are sent sooner.
    batch = "{readings = 1000, window = 32}"
    rig = started(make_rig, mqtt="max_packet_bytes = 4194304", batch=batch)
    count = 62_500 if thorough else 10_000
    client = RawClient(rig.port, NODE, NODE_PASSWORD)
    good = Node(rig.port, "node-2", "password-2")
    topic = f"telemetry/{NODE}"
    begin = time.monotonic()
    client.flood(topic, payloads(4 * part, count // 4))
    _, early = rig.relay.resources()
    for quarter in range(1, 4):
        good.send(25)
        client.flood(topic, payloads(4 * part + quarter, count // 4))
    seconds = time.monotonic() - begin
    _, late = rig.relay.resources()
    good.close()
    client.vanish()
    status = rig.wait_until_empty(300)
    assert status["received"] == count // 4 * 4 + 75
    # Some that were spoilt are still good.
    letters = rig.count("dead-letters")
    arrived = rig.account()
    print(
        f"{count} payloads in {seconds:.0f} s ({count / seconds:.0f}/s): {letters} dead letters, "
        f"{status['readings']} readings; {early:.0f} MB after a quarter, {late:.0f} MB at the end"
    )
    assert letters == status["malformed"] == status["dead_letters_total"]
    assert sum(report.distinct + report.duplicates for report in arrived.values()) == status["readings"]
    assert arrived["node-2"] == NodeReport(75, 0, 0)
    assert late < early + 8
    assert rig.relay.log.read_text().count("Traceback") == 0


def test_a_slow_link_and_a_slow_consumer(make_rig: MakeRig, link: Link, thorough: bool):
    rig = started(make_rig, uplink_port=link.port)
    stop = threading.Event()
    taken: list[Reading] = []

    def consume() -> None:
        with rig.channel() as channel:
            while not stop.is_set():
                method, properties, body = channel.basic_get(rig.names["telemetry"], auto_ack=True)
                if method is not None:
                    taken.extend(readings_of(properties, body))
                time.sleep(0.1)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    link.slow_down(20_000)
    sending = Sending(rig, rate=3000)
    time.sleep(2)
    _, early = rig.relay.resources()
    time.sleep(60 if thorough else 4)
    _, late = rig.relay.resources()
    waiting = rig.relay.status()["outbox"]["telemetry"]["entries"]
    sent = sending.stop()
    link.slow_down(None)
    rig.wait_until_empty(120)
    stop.set()
    consumer.join(10)
    rig.settle("link of 20 kB/s, and a consumer of ten messages a second", 1, sent, 0, taken)
    print(f"{waiting} waiting; {early:.0f} MB early, {late:.0f} MB late")
    assert waiting > 1000
    assert late < early + 8


def test_a_node_that_connects_a_thousand_times(make_rig: MakeRig):
    rig = started(make_rig)
    rounds = 1000
    early = 0.0
    for number in range(rounds):
        client = RawClient(rig.port, NODE, NODE_PASSWORD, client_id=f"client-{number % 10}")
        payload = b'[{"bn":"node-1/","n":"temperature","v":1,"seq":%d}]' % number
        client.flood(f"telemetry/{NODE}", [payload])
        client.vanish()
        if number == rounds // 4:
            _, early = rig.relay.resources()
    status = rig.wait_for(lambda status: status["listeners"]["mqtt"]["clients"] == 0, "all of them gone")
    assert status["listeners"]["mqtt"]["connections"] == rounds
    rig.wait_until_empty()
    _, late = rig.relay.resources()
    assert rig.relay.process is not None
    files = len(list(Path(f"/proc/{rig.relay.process.pid}/fd").iterdir()))
    print(f"{rounds} connections: {early:.0f} MB after a quarter, {late:.0f} MB at the end, {files} files open")
    rig.settle("node that connects and goes without a word", rounds, rounds, 0)
    assert late < early + 4
    assert files < 50


def test_killed_while_the_disk_is_full(make_rig: MakeRig, small_disk: Path):
    rig = started(make_rig, outbox=f'{{directory = "{small_disk}/outbox"}}')
    sending = Sending(rig, rate=400)
    for _ in range(3):
        with (small_disk / "ballast").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        rig.wait_for(lambda status: status["refusal"], "the refusal shown")
        rig.relay.kill()
        try:
            rig.relay.start()
        except (RuntimeError, NotRunningError) as error:
            pytest.fail(f"the relay does not start on a full disk: {error}")
        (small_disk / "ballast").unlink()
        rig.wait_for(lambda status: not status["refusal"] and status["uplink"]["connected"], "storing again")
    sent = sending.stop()
    rig.wait_until_empty()
    rig.settle("disk full, and relay killed then", 3, sent, 3 * (BOUND + ON_ITS_WAY))
    rig.close()
    rig.declare()  # the fixture closes once more
