"""The node agent: reads its sensors at an interval and gets every pack to the gateway, sooner or later."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from iot_node import actuation, actuators, profiles
from iot_node.actuation import Actuation, Report
from iot_node.config import Config, Credentials
from iot_node.errors import ConfigError, StoreError
from iot_node.link import Link, Outcome
from iot_node.profiles import Measurement
from iot_node.store import Store
from iot_telemetry import senml

logger = logging.getLogger(__name__)

STORE_FILE = "node.db"
STATUS_FILE = "status.json"
_RETRY_REFUSED_S = 30.0
_LAST_WORDS_S = 2.0


@dataclass
class Status:
    """What the agent tells about itself, in ``status.json`` in its state directory."""

    connected: bool = False
    problem: str = ""
    sampled: int = 0
    """Packs made since the agent started."""
    acknowledged: int = 0
    """Packs that the gateway acknowledged since the agent started."""
    last_sample: float = 0.0
    """Seconds since the epoch."""
    last_acknowledged: float = 0.0
    """Seconds since the epoch."""
    waiting: int = 0
    """Packs on disk that are not acknowledged."""
    waiting_bytes: int = 0
    dropped: int = 0
    """Packs dropped since the agent started because the spool was full."""
    actuators: dict[str, str] = field(default_factory=dict[str, str])
    """State of each actuator in words, by its name."""


class Agent:
    """One node."""

    def __init__(self, config: Config, *, clock: Callable[[], float] = time.time):
        """Prepare the agent.

        Args:
            config: what it is told.
            clock: gives seconds since the epoch.

        Raises:
            ConfigError: two profiles have a sensor of the same name.
        """
        self._config = config
        self._clock = clock
        self._profiles = [profiles.create(name, config.seed) for name in config.profiles]
        self._actuators = actuators.create(config.actuators)
        self._actuation: Actuation | None = None
        self._tokens = itertools.count()
        self._reports: dict[int, Report] = {}
        """What the gateway has been told of commands and has not acknowledged."""
        self._reports_held_until = 0.0
        self._status = Status()
        self._written = Status(sampled=-1)
        self._sent_up_to = 0
        self._in_flight: set[int] = set()
        self._refusal = ""
        self._retry_at = float("inf")
        sensors = [measurement.sensor for measurement in self._sample()]
        if len(set(sensors)) != len(sensors):
            raise ConfigError(f"profiles {', '.join(config.profiles)} have sensors of the same name")

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set; what is not acknowledged by then stays on disk for the next start.

        Raises:
            ConfigError: the credentials can't be read.
            StoreError: the store can't be opened, or an acknowledgement can't be noted.
        """
        config = self._config
        credentials = Credentials.read(config.gateway.credentials_file)
        with (
            Store(config.state_directory / STORE_FILE, config.spool_max_bytes) as store,
            actuation.opened(config.state_directory, self._actuators, self._clock) as self._actuation,
            Link(
                config.gateway,
                credentials,
                config.node,
                config.topic,
                config.commands_topic if self._actuators else "",
            ) as link,
        ):
            logger.info(
                "node %s: %s every %g s to %s; %d packs waiting from before",
                config.node,
                ", ".join(config.profiles),
                config.interval,
                link.where,
                store.count,
            )
            due = time.monotonic()
            while not stop.is_set():
                now = time.monotonic()
                self._act(store, link)
                if now >= due:
                    self._take(store, self._sample())
                    # Samples that were missed (the machine slept) are not made up for.
                    due += config.interval * (1 + (now - due) // config.interval)
                self._send(store, link)
                longest = actuation.STEP_S if self._actuation is not None and self._actuation.moving else 1.0
                self._settle(store, link, min(longest, max(0.0, due - time.monotonic())))
                self._report(store, link)
            deadline = time.monotonic() + _LAST_WORDS_S
            while link.connected and link.in_flight and time.monotonic() < deadline:
                self._settle(store, link, 0.1)
            logger.info("stopped; %d packs stay on disk", store.count)

    def _sample(self) -> list[Measurement]:
        now = self._clock()
        found = [measurement for profile in self._profiles for measurement in profile.sample(now)]
        return found + [actuator.measurement for actuator in self._actuators]

    def _act(self, store: Store, link: Link) -> None:
        """Take commands, do them, and tell what became of them; what changed is a pack of its own, at once."""
        if self._actuation is None:
            return
        try:
            for payload in link.messages():
                self._actuation.take(payload)
            # Before they are done: a command that takes no time is acknowledged all the same.
            self._tell(self._actuation, link)
            changed = self._actuation.step()
        except StoreError as error:
            # What was not noted was not done: the gateway sends it again.
            logger.error("commands wait: %s", error)
            return
        if changed:
            self._take(store, changed)
            self._tell(self._actuation, link)

    def _tell(self, actuation: Actuation, link: Link) -> None:
        if link.room and time.monotonic() >= self._reports_held_until:
            for report in actuation.reports(link.room):
                token = next(self._tokens)
                self._reports[token] = report
                link.publish(token, report.payload, self._report_topic)

    @property
    def _report_topic(self) -> str:
        return f"{self._config.commands_topic}/state"

    def _told(self, outcome: Outcome) -> None:
        """Note the gateway's word on what it was told of a command."""
        report = self._reports.pop(outcome.token)
        if self._actuation is None:
            return
        try:
            if outcome.refusal is None:
                self._actuation.told(report.number, report.state)
                return
        except StoreError as error:
            logger.error("told of a command, but: %s", error)
        else:
            logger.error("the gateway refuses what it is told of a command: %s", outcome.refusal)
        self._actuation.untold(report.number, report.state)
        self._reports_held_until = time.monotonic() + _RETRY_REFUSED_S

    def _take(self, store: Store, measurements: Sequence[Measurement]) -> None:
        """Put a pack of what was measured now into the store."""
        now = round(self._clock(), 3)
        try:
            store.add(
                [measurement.sensor for measurement in measurements],
                lambda numbers: write_pack(self._config.node, now, measurements, numbers),
            )
        except StoreError as error:
            # A full disk must not end the agent: it has room again some day. The numbers were not used.
            logger.error("lost one sample: %s", error)
            return
        self._status.sampled += 1
        self._status.last_sample = now

    def _send(self, store: Store, link: Link) -> None:
        if time.monotonic() >= self._retry_at:
            self._sent_up_to, self._retry_at = 0, float("inf")
        while link.room:
            packs = store.after(self._sent_up_to, link.room)
            if not packs:
                return
            for pack in packs:
                self._sent_up_to = pack.id
                if pack.id not in self._in_flight:
                    link.publish(pack.id, pack.body)
                    self._in_flight.add(pack.id)

    def _settle(self, store: Store, link: Link, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the gateway's word on packs; forget those that it has."""
        outcomes = link.outcomes(timeout)
        for outcome in outcomes:
            if outcome.topic == self._report_topic:
                self._told(outcome)
        outcomes = [outcome for outcome in outcomes if outcome.topic != self._report_topic]
        if not outcomes:
            return
        self._in_flight.difference_update(outcome.token for outcome in outcomes)
        done = [outcome.token for outcome in outcomes if outcome.refusal is None]
        store.remove(done)
        self._status.acknowledged += len(done)
        if done:
            self._status.last_acknowledged = self._clock()
        refused = next((outcome.refusal for outcome in outcomes if outcome.refusal), "")
        if refused:
            self._retry_at = time.monotonic() + _RETRY_REFUSED_S
            if refused != self._refusal:
                logger.error("the gateway refuses packs: %s; trying again every %g s", refused, _RETRY_REFUSED_S)
        self._refusal = refused

    def _report(self, store: Store, link: Link) -> None:
        status = self._status
        status.connected = link.connected
        status.problem = link.problem or (f"the gateway refuses packs: {self._refusal}" if self._refusal else "")
        if self._actuation is not None:
            status.actuators = self._actuation.describe()
        status.waiting, status.waiting_bytes, status.dropped = store.count, store.bytes, store.dropped
        if status != self._written:
            write_status(self._config.state_directory, status)
            self._written = Status(**asdict(status))


def write_pack(node: str, now: float, measurements: Sequence[Measurement], numbers: Mapping[str, int]) -> bytes:
    """Write a SenML pack of measurements made at ``now``, each with its sensor's sequence number."""
    return senml.encode(
        [_record(f"{node}/{found.sensor}", now, found, numbers[found.sensor]) for found in measurements],
        base_name=f"{node}/",
        base_time=now,
    )


def _record(name: str, now: float, found: Measurement, seq: int) -> senml.SenmlRecord:
    if isinstance(found.value, bool):
        return senml.SenmlRecord(name, now, found.unit, flag=found.value, seq=seq)
    return senml.SenmlRecord(name, now, found.unit, found.value, seq=seq)


def write_status(directory: Path, status: Status) -> None:
    """Write the status file; a reader sees the old one or the new one.

    A disk that is full costs the status, not the agent.
    """
    new = directory / f"{STATUS_FILE}.new"
    try:
        new.write_text(json.dumps(asdict(status)))
        new.replace(directory / STATUS_FILE)
    except OSError as error:
        logger.warning("can't write the status: %s", error)


def read_status(directory: Path) -> Status:
    """Read the status file.

    Raises:
        ConfigError: there is none: no agent has run with this state directory.
    """
    path = directory / STATUS_FILE
    try:
        return Status(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"can't read {path}: {error}") from error
