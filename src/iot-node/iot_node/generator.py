"""Test data at any rate: so many readings, every one acknowledged, and a count that can be checked at the other end."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from iot_node.config import Credentials, Gateway
from iot_node.errors import LinkError
from iot_node.link import Link
from iot_node.profiles.sensortag import SensorTag
from iot_telemetry import senml

logger = logging.getLogger(__name__)

PACK_READINGS: Final = 100
_SAMPLE_INTERVAL_S: Final = 5.0
_FIRST_SAMPLE_S: Final = 1_700_000_000.0
_PROGRESS_S: Final = 3.0


@dataclass(frozen=True)
class Run:
    """What to send."""

    node: str
    """The node that sends."""
    name: str
    """The run: its readings are those of the node ``<node>:<name>``, whose sequence numbers start at 0."""
    count: int
    """Readings, at least 1."""
    rate: float
    """Readings a second, 0 for as fast as they are acknowledged."""
    seed: int
    """The same seed gives the same values."""
    timeout: float
    """Seconds without an acknowledgement after which to give up."""

    @property
    def subnode(self) -> str:
        """The node that the readings belong to."""
        return f"{self.node}:{self.name}"


@dataclass(frozen=True)
class Summary:
    """What was sent."""

    node: str
    sent: int
    acknowledged: int
    seconds: float
    rate: float
    """Acknowledged readings a second."""


def packs(run: Run, clock: Callable[[], float] = time.time) -> Iterator[tuple[bytes, int]]:
    """Write the run's packs, each with the number of its readings.

    Values are those of a SensorTag read every 5 s from a fixed moment, so that they depend on the seed alone. Times
    are real: those at which the pack is written, growing strictly for each sensor.
    """
    size = PACK_READINGS if not run.rate else max(1, min(PACK_READINGS, int(run.rate / 10)))
    records: list[senml.SenmlRecord] = []
    left, last = run.count, 0
    prefix = f"{run.subnode}/"
    tag = SensorTag(run.seed)
    cycle = 0
    while left:
        # Whole microseconds, which survive SenML's relative times and a float's 53 bits.
        last = max(last + 1, int(clock() * 1e6))
        for found in tag.sample(_FIRST_SAMPLE_S + cycle * _SAMPLE_INTERVAL_S)[:left]:
            records.append(senml.SenmlRecord(prefix + found.sensor, last / 1e6, found.unit, found.value, seq=cycle))
            left -= 1
            if len(records) == size or not left:
                yield senml.encode(records, base_name=prefix, base_time=records[0].time), len(records)
                records = []
        cycle += 1


def generate(
    run: Run,
    gateway: Gateway,
    credentials: Credentials,
    progress: Callable[[str], None],
) -> Summary:
    """Send a run's readings and wait until each is acknowledged.

    What was not acknowledged when a connection broke is sent again on the next one, so the far end may see a pack
    twice, with the same sequence numbers.

    Raises:
        LinkError: the gateway could not be reached, or acknowledged nothing, for the run's timeout; or it refused a
            pack.
    """
    sender = _Sender(run, progress)
    with Link(gateway, credentials, f"{run.node}-{run.name}", f"{gateway.topic_prefix}/{run.node}") as link:
        return sender.send(link)


class _Sender:
    """The state of one run."""

    def __init__(self, run: Run, progress: Callable[[str], None]):
        self._run = run
        self._progress = progress
        self._sizes: dict[int, int] = {}
        self._sent = self._acknowledged = 0
        self._started = self._last_word = self._last_progress = time.monotonic()

    def send(self, link: Link) -> Summary:
        for token, (pack, readings) in enumerate(packs(self._run)):
            self._pace(link)
            while not link.room:
                self._settle(link, 1.0)
            self._sizes[token] = readings
            link.publish(token, pack)
            self._sent += readings
            self._settle(link, 0.0)
        while self._sizes:
            self._settle(link, 1.0)
        seconds = time.monotonic() - self._started
        return Summary(
            self._run.subnode,
            self._sent,
            self._acknowledged,
            round(seconds, 3),
            round(self._acknowledged / seconds, 1),
        )

    def _pace(self, link: Link) -> None:
        """Wait until the next pack is due."""
        if not self._run.rate:
            return
        due = self._started + self._sent / self._run.rate
        while (left := due - time.monotonic()) > 0:
            self._settle(link, min(left, 1.0), idle=not self._sizes)

    def _settle(self, link: Link, timeout: float, *, idle: bool = False) -> None:
        """Take acknowledgements, report progress, give up when there has been none for too long."""
        for outcome in link.outcomes(timeout):
            if outcome.refusal is not None:
                raise LinkError(f"{link.where} refuses what {self._run.node} sends: {outcome.refusal}")
            self._acknowledged += self._sizes.pop(outcome.token)
            self._last_word = time.monotonic()
        now = time.monotonic()
        if idle:
            self._last_word = now
        if now - self._last_progress >= _PROGRESS_S:
            self._last_progress = now
            rate = self._acknowledged / (now - self._started)
            problem = "" if link.connected else f" ({link.problem})"
            self._progress(f"{self._acknowledged:,} of {self._run.count:,} sent, {rate:,.0f}/s{problem}")
        if now - self._last_word > self._run.timeout:
            reason = link.problem or f"{link.where} acknowledges nothing"
            raise LinkError(
                f"gave up after {self._run.timeout:g} s: {reason}; {self._acknowledged:,} of {self._run.count:,} sent"
            )
