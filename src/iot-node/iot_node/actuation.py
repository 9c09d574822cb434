"""Commands: taken, done once, and accounted for.

A command is known by its identifier. Its first coming is noted on disk before anything is done; each further coming has
its state told again and does nothing. What was begun when the node stopped is gone on with at its next start.
"""

import json
import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from iot_node.actuators import Actuator, RefusedError, Value
from iot_node.command_log import CommandLog, Entry
from iot_node.profiles import Measurement

logger = logging.getLogger(__name__)

LOG_FILE: Final = "commands.db"
MOVING_REPORT_S: Final = 1.0
"""Between two readings of an actuator that moves."""
STEP_S: Final = 0.1
"""Between two looks at one."""
_MAX_ID, _MAX_TEXT = 256, 4096


class Report(NamedTuple):
    """What the gateway is to be told of a command."""

    number: int
    state: str
    payload: bytes


class Actuation:
    """The actuators of a node and what they are doing."""

    def __init__(
        self,
        actuators: Sequence[Actuator],
        log: CommandLog,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """Take up what was left.

        Args:
            actuators: each with a name of its own.
            log: what is remembered.
            clock: gives seconds since the epoch.
            monotonic: gives seconds on a clock that never goes back.
        """
        self._actuators = {actuator.name: actuator for actuator in actuators}
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._running: dict[str, Entry] = {}
        self._ended: list[tuple[Entry, str, str]] = []
        """Ends that are not on disk yet."""
        self._reported: dict[str, float] = {}
        self._telling: dict[int, str] = {}
        for name, position in log.positions().items():
            if name in self._actuators:
                self._actuators[name].restore(position)
        for entry in log.begun():
            self._go_on(entry)

    def _go_on(self, entry: Entry) -> None:
        try:
            actuator = self._find(entry.target)
            actuator.check(entry.value)
        except RefusedError as error:
            self._log.end(entry.number, "failed", str(error))
        else:
            self._begin(actuator, entry)

    # Commands

    def take(self, payload: bytes) -> None:
        """Take a command as it came.

        Raises:
            StoreError: the disk does not take it; nothing is done, and the gateway sends it again.
        """
        try:
            identifier, target, value, expires = _read(payload)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            logger.warning("a command makes no sense: %s", error)
            return
        if self._log.knows(identifier):
            logger.info("command %s has come before", identifier)
            return
        try:
            if expires <= self._clock():
                raise RefusedError("it expired before it came, by this node's clock")
            actuator = self._find(target)
            actuator.check(value)
        except RefusedError as error:
            logger.info("command %s is refused: %s", identifier, error)
            self._log.add(identifier, target, value, "refused", str(error))
            return
        logger.info("command %s: %s to %s", identifier, target, json.dumps(value))
        self._begin(actuator, self._log.add(identifier, target, value, "acknowledged"))

    def _find(self, target: str) -> Actuator:
        try:
            return self._actuators[target]
        except KeyError:
            known = ", ".join(self._actuators)
            raise RefusedError(f"target={target!r}: there is no such actuator; there are {known}") from None

    def _begin(self, actuator: Actuator, entry: Entry) -> None:
        former = self._running.get(actuator.name)
        if former is not None:
            self._ended.append((former, "failed", f"command {entry.id} took its place"))
        actuator.begin(entry.value, self._monotonic())
        self._running[actuator.name] = entry
        self._note_ends()

    def _note_ends(self) -> None:
        while self._ended:
            entry, state, reason = self._ended[0]
            self._log.end(entry.number, state, reason)
            logger.info("command %s is %s: %s", entry.id, state, reason)
            self._ended.pop(0)

    # Motion

    @property
    def moving(self) -> bool:
        """Whether a command is under way."""
        return bool(self._running or self._ended)

    def step(self) -> list[Measurement]:
        """Let time pass; return what is to be reported at once: what came to rest, and what moves, now and then.

        Raises:
            StoreError: the disk does not take it; the next step tries again.
        """
        self._note_ends()
        now = self._monotonic()
        changed: list[Measurement] = []
        for name, entry in list(self._running.items()):
            actuator = self._actuators[name]
            moves = actuator.step(now)
            if moves and now - self._reported.get(name, float("-inf")) < MOVING_REPORT_S:
                continue
            self._log.keep(name, actuator.position)
            if not moves:
                del self._running[name]
                self._ended.append((entry, "applied", actuator.describe()))
            self._reported[name] = now
            changed.append(actuator.measurement)
        self._note_ends()
        return changed

    def measurements(self) -> list[Measurement]:
        """Return the state of every actuator."""
        return [actuator.measurement for actuator in self._actuators.values()]

    def describe(self) -> dict[str, str]:
        """Return the state of every actuator in words, by its name."""
        return {name: actuator.describe() for name, actuator in self._actuators.items()}

    # Reports

    def reports(self, limit: int) -> list[Report]:
        """Return what the gateway is to be told now; each is returned once, until :meth:`untold`."""
        found: list[Report] = []
        for entry in self._log.untold(limit + len(self._telling)):
            if self._telling.get(entry.number) == entry.state or len(found) == limit:
                continue
            self._telling[entry.number] = entry.state
            content = {"id": entry.id, "state": entry.state, "reason": entry.reason}
            found.append(Report(entry.number, entry.state, json.dumps(content).encode()))
        return found

    def told(self, number: int, state: str) -> None:
        """The gateway has a report."""
        self._log.told(number, state)
        self.untold(number, state)

    def untold(self, number: int, state: str) -> None:
        """The gateway does not take a report: it is to be told again."""
        if self._telling.get(number) == state:
            del self._telling[number]


def _read(payload: bytes) -> tuple[str, str, Value, float]:
    content: Any = json.loads(payload)
    identifier, target, value, expires = content["id"], content["target"], content.get("value"), content["expires"]
    if not (isinstance(identifier, str) and 0 < len(identifier) <= _MAX_ID):
        raise ValueError("its id is no text of at most 256 characters")
    if not (isinstance(target, str) and len(target) <= _MAX_TEXT):
        raise ValueError(f"its target is no text of at most {_MAX_TEXT} characters")
    if not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError("its value is neither a number nor a text nor a truth value")
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        raise ValueError(f"its value is longer than {_MAX_TEXT} characters")
    return identifier, target, value, float(expires)


@contextmanager
def opened(directory: Path, actuators: Sequence[Actuator], clock: Callable[[], float]) -> Generator[Actuation | None]:
    """Open a node's actuation; a node without actuators has none.

    Raises:
        StoreError: the log can't be used.
    """
    if not actuators:
        yield None
        return
    with CommandLog(directory / LOG_FILE) as log:
        yield Actuation(actuators, log, clock=clock)
