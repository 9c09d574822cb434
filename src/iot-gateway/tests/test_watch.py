"""What an operator is told, how long the link can be down, and figures in words."""

from typing import Any

import pytest
from fakes import MemoryOutbox

from iot_gateway import plan, words
from iot_gateway.rates import BUCKETS, RateMeter
from iot_gateway.watch import QUIET_SECONDS, Watch

MIB = 2**20


class Figures(MemoryOutbox):
    """An outbox whose figures a test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, Any] = {
            "entries": 0,
            "used_bytes": 0,
            "max_bytes": 100 * MIB,
            "free_bytes": 1000 * MIB,
            "oldest_seconds": 0.0,
            "max_age": 0.0,
            "appended_bytes": 0,
            "dropped_total": {"bytes": 0, "age": 0},
        }
        self.expired = 0
        self.error: OSError | None = None

    def status(self) -> dict[str, Any]:
        return dict(self.figures)

    async def expire(self) -> None:
        self.expired += 1
        if self.error is not None:
            raise self.error


class Setup:
    def __init__(self) -> None:
        self.now = 0.0
        self.outbox = Figures()
        self.reason: str | None = None
        self.watch = Watch({"telemetry": self.outbox}, "telemetry", lambda: self.reason, lambda: self.now)

    async def tick(self, seconds: float = 1.0, **figures: Any) -> None:
        self.outbox.figures |= figures
        self.now += seconds
        await self.watch.tick()


@pytest.fixture
def setup(caplog: pytest.LogCaptureFixture) -> Setup:
    caplog.set_level("INFO")
    return Setup()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


def test_the_link_lost_and_back(setup: Setup, caplog: pytest.LogCaptureFixture):
    setup.watch.link(True)
    assert told(caplog) == ["the uplink is there; 0 readings wait"]
    setup.outbox.figures["entries"] = 12
    setup.reason = "timed out"
    setup.watch.link(False)
    assert told(caplog) == ["the uplink is lost (timed out); 12 readings wait"]
    setup.now += 3725
    setup.outbox.figures["entries"] = 34_000
    setup.watch.link(True)
    assert told(caplog) == ["the uplink is back after 1 h 2 min; 34,000 readings wait"]


async def test_levels_are_told_once_each(setup: Setup, caplog: pytest.LogCaptureFixture):
    lines: list[str] = []
    for used in (10, 49, 50, 60, 79, 81, 99, 70, 55, 41, 85, 39, 5, 51):
        await setup.tick(used_bytes=used * MIB)
        lines += [f"{used}: {line.split(': ')[1]}" for line in told(caplog)]
    assert lines == [
        "50: the outbox is 50 % full",
        "81: the outbox is 80 % full",
        "39: the outbox is free again",
        "51: the outbox is 50 % full",
    ]


async def test_dropping_is_told_when_it_begins_and_when_it_ends(setup: Setup, caplog: pytest.LogCaptureFixture):
    await setup.tick(dropped_total={"bytes": 100, "age": 0})
    await setup.tick(dropped_total={"bytes": 300, "age": 0})
    await setup.tick(dropped_total={"bytes": 300, "age": 7})
    assert told(caplog) == [
        "telemetry: the oldest entries are being dropped, since there is no room",
        "telemetry: the oldest entries are being dropped, since they are too old",
    ]
    await setup.tick(QUIET_SECONDS)
    assert told(caplog) == [
        "telemetry: nothing is dropped any more; 300 entries were",
        "telemetry: nothing is dropped any more; 7 entries were",
    ]


async def test_a_disk_that_fails_is_told_once(setup: Setup, caplog: pytest.LogCaptureFixture):
    setup.outbox.error = OSError(5, "Input/output error")
    await setup.tick()
    await setup.tick()
    assert len(told(caplog)) == 1
    setup.outbox.error = None
    await setup.tick()
    setup.outbox.error = OSError(5, "Input/output error")
    await setup.tick()
    assert len(told(caplog)) == 1
    assert setup.outbox.expired == 4


def test_rates():
    meter = RateMeter(0.0, 500)
    assert (meter.average, meter.peak, meter.seconds) == (0.0, 0.0, 0.0)
    count = 500
    for second in range(1, 101):
        count += 1000 if 40 < second <= 50 else 100
        meter.see(float(second), count)
    assert meter.average == pytest.approx(190)
    assert meter.peak == pytest.approx(1000)
    for second in range(101, 101 + 10 * BUCKETS + 100):
        count += 100
        meter.see(float(second), count)
    assert meter.average == pytest.approx(100)
    assert meter.peak == pytest.approx(1000)
    assert 590 <= meter.seconds <= 610


def measured(average: float, peak: float = 0.0) -> RateMeter:
    meter = RateMeter(0.0, 0)
    if peak:
        meter.see(10.0, int(10 * peak))
        meter.see(100.0, int(100 * average))
    else:
        meter.see(100.0, int(100 * average))
    return meter


@pytest.mark.parametrize(
    ("figures", "full", "seconds", "at_peak", "phrases"),
    [
        ({"used_bytes": 28 * MIB}, "refuse", 3600, 720, ["1 h at the average of 20.5 KiB/s", "12 min at the peak"]),
        ({"used_bytes": 28 * MIB}, "refuse", 3600, 720, ["nothing more is acknowledged", "the outbox's bound"]),
        ({"used_bytes": 28 * MIB}, "drop-oldest", 3600, 720, ["then the oldest readings are dropped"]),
        ({"free_bytes": 36 * MIB}, "refuse", 1800, 360, ["for 30 min", "36.0 MiB (the free disk)"]),
        ({"max_age": 600.0}, "refuse", 600, 600, ["for 10 min", "max_age"]),
        ({"max_age": 1e6}, "refuse", 5000, 1000, ["1 h 23 min"]),
        ({"used_bytes": 101 * MIB}, "refuse", 0, 0, ["for 0 s"]),
    ],
)
def test_how_long_the_link_can_be_down(
    figures: dict[str, Any], full: str, seconds: int, at_peak: int, phrases: list[str]
):
    rate = measured(average=72 * MIB / 3600, peak=72 * MIB / 720)
    answer = plan.buffer(Figures().figures | figures, rate, full)
    assert answer["seconds"] == pytest.approx(seconds, abs=2)
    assert answer["seconds_at_peak"] == pytest.approx(at_peak, abs=2)
    for phrase in phrases:
        assert phrase in answer["answer"]
    assert answer["assumptions"]


def test_without_a_rate_there_is_only_room():
    answer = plan.buffer(Figures().figures, measured(0), "refuse")
    assert (answer["seconds"], answer["seconds_at_peak"]) == (None, None)
    assert answer["answer"] == (
        "No reading came in the last 1 min 40 s, so no rate is known; "
        "there is room for 100.0 MiB (the outbox's bound in bytes)."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (12.4, "12 s"), (60, "1 min"), (3725, "1 h 2 min"), (3601, "1 h"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, text: str):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**40, "1.0 TiB"), (2**51, "2048.0 TiB")]
)
def test_sizes(count: int, text: str):
    assert words.size(count) == text


def test_behind():
    assert words.behind({"entries": 0, "oldest_seconds": 0.0}) == "outbox empty"
    assert words.behind({"entries": 1, "oldest_seconds": 0.2}) == "0 s behind, 1 reading in the outbox"
    assert words.behind({"entries": 34000, "oldest_seconds": 12}) == "12 s behind, 34,000 readings in the outbox"
