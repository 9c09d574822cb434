import dataclasses
import itertools
import time
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_node.config import Config, Credentials
from iot_node.errors import LinkError
from iot_node.generator import Run, generate, packs
from iot_telemetry import senml

RUN = Run(node="node-1", name="run-1", count=1000, rate=0, seed=1, timeout=10)
CREDENTIALS = Credentials("node-1", "hunter2")


def decode(payloads: list[bytes]) -> list[senml.SenmlRecord]:
    return [record for payload in payloads for record in senml.decode(payload, time.time())]


@settings(deadline=None)
@given(
    count=st.integers(1, 500),
    rate=st.sampled_from([0.0, 0.5, 15.0, 1e6]),
    seed=st.integers(),
    ticks=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=20),
)
def test_a_run_is_as_many_readings_as_asked_each_with_its_own_number_and_time(
    count: int, rate: float, seed: int, ticks: list[float]
):
    """Also where the clock stands still or goes backwards."""
    now = itertools.accumulate(itertools.cycle(ticks), initial=1_700_000_000.123456)
    run = dataclasses.replace(RUN, count=count, rate=rate, seed=seed)
    written = list(packs(run, clock=lambda: next(now)))
    records = decode([payload for payload, _ in written])
    assert len(records) == count == sum(readings for _, readings in written)
    sequences: dict[str, list[int | None]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    for record in records:
        assert record.name.startswith("node-1:run-1/")
        sequences[record.name].append(record.seq)
        times[record.name].append(record.time)
    assert all(numbers == list(range(len(numbers))) for numbers in sequences.values())
    assert all(earlier < later for found in times.values() for earlier, later in itertools.pairwise(found))


def test_values_depend_on_the_seed_alone():
    def values(seed: int, started: float) -> list[float | None]:
        run = dataclasses.replace(RUN, seed=seed)
        return [record.value for record in decode([payload for payload, _ in packs(run, clock=lambda: started)])]

    assert values(1, 1.7e9) == values(1, 1.8e9) != values(2, 1.7e9)


def test_a_slow_run_has_small_packs():
    assert {readings for _, readings in packs(dataclasses.replace(RUN, rate=50))} == {5}


def received(gateway) -> list[senml.SenmlRecord]:
    return decode([payload for _, payload in gateway.received])


def test_all_is_acknowledged_when_it_ends(gateway, config: Config):
    summary = generate(RUN, config.gateway, CREDENTIALS, lambda _: None)
    assert (summary.node, summary.sent, summary.acknowledged) == ("node-1:run-1", 1000, 1000)
    assert summary.rate == pytest.approx(1000 / summary.seconds, rel=0.01)
    assert {topic for topic, _ in gateway.received} == {"telemetry/node-1"}
    assert len(received(gateway)) == 1000


def test_what_was_not_acknowledged_is_sent_again(gateway, config: Config):
    gateway.drop_after = 3
    summary = generate(RUN, config.gateway, CREDENTIALS, lambda _: None)
    assert summary.acknowledged == 1000
    assert gateway.connections == 2
    assert len({(record.name, record.seq) for record in received(gateway)}) == 1000


def test_no_more_is_under_way_than_the_gateway_takes(gateway, config: Config):
    gateway.receive_maximum = 4
    gateway.silent = True
    with pytest.raises(LinkError, match="acknowledges nothing; 0 of 1,000 sent"):
        generate(dataclasses.replace(RUN, timeout=1), config.gateway, CREDENTIALS, lambda _: None)
    assert len(gateway.received) == 4


def test_the_rate_is_kept_and_progress_is_told(gateway, config: Config, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_node.generator._PROGRESS_S", 0.2)
    lines: list[str] = []
    summary = generate(dataclasses.replace(RUN, rate=1000), config.gateway, CREDENTIALS, lines.append)
    assert 0.85 < summary.seconds < 2
    assert lines
    assert lines[0].split(",")[0].endswith("of 1")  # "... of 1,000 sent"
    assert lines[0].endswith("/s")


def test_a_pause_longer_than_the_timeout_is_no_fault(gateway, config: Config):
    slow = dataclasses.replace(RUN, count=3, rate=1.5, timeout=0.4)
    assert generate(slow, config.gateway, CREDENTIALS, lambda _: None).acknowledged == 3


def test_a_refusal_ends_the_run(gateway, config: Config):
    gateway.refuse_packs = 100
    with pytest.raises(LinkError, match="refuses what node-1 sends: Not authorized"):
        generate(RUN, config.gateway, CREDENTIALS, lambda _: None)


def test_a_refused_connection_ends_the_run_with_the_reason(gateway, config: Config):
    gateway.refuse_connections = True
    with pytest.raises(LinkError, match=r"gave up after 1 s: 127.0.0.1:\d+ refuses the connection: Not authorized"):
        generate(dataclasses.replace(RUN, timeout=1), config.gateway, CREDENTIALS, lambda _: None)


def test_an_unreachable_gateway_ends_the_run_with_the_reason(gateway, config: Config):
    gateway.close()
    with pytest.raises(LinkError, match="can't be reached"):
        generate(dataclasses.replace(RUN, timeout=1), config.gateway, CREDENTIALS, lambda _: None)
