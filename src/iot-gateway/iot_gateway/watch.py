"""What the relay looks after every second: entries that grow old, how full it gets, and what an operator is told of it.

One line an event: the link lost and back, an outbox half full and nearly full and free again, entries being dropped.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from iot_gateway.interfaces import Outbox
from iot_gateway.rates import RateMeter
from iot_gateway.words import duration, size

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
LEVELS = (0.5, 0.8)
FREE = 0.4
"""Below it an outbox that was half full is called free again."""
QUIET_SECONDS = 60.0
"""Without a drop for so long, dropping has ended."""


class Watch:
    """Watches the outboxes of the lanes, and the link of one of them."""

    def __init__(
        self,
        outboxes: Mapping[str, Outbox],
        lane: str,
        reason: Callable[[], str | None],
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """Make the watch.

        Args:
            outboxes: by lane.
            lane: whose link is told about, and whose rate is measured.
            reason: why there is no link, as far as it is known.
            monotonic: the clock.
        """
        self._outboxes = outboxes
        self._lane = lane
        self._reason = reason
        self._monotonic = monotonic
        self.rate = RateMeter(monotonic(), outboxes[lane].status()["appended_bytes"])
        """Of the bytes that the lane's outbox takes."""
        self._lost: float | None = None
        self._lanes = [_LaneWatch(name, outbox, monotonic) for name, outbox in outboxes.items()]

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.tick()

    async def tick(self) -> None:
        """Look once."""
        for lane in self._lanes:
            await lane.look()
        self.rate.see(self._monotonic(), self._outboxes[self._lane].status()["appended_bytes"])

    def link(self, there: bool) -> None:
        """Learn that the link is there, or no longer."""
        waiting = f"{self._outboxes[self._lane].status()['entries']:,}"
        if not there:
            self._lost = self._monotonic()
            logger.warning("the uplink is lost (%s); %s readings wait", self._reason() or "no reason known", waiting)
        elif self._lost is None:
            logger.info("the uplink is there; %s readings wait", waiting)
        else:
            lasted = duration(self._monotonic() - self._lost)
            logger.info("the uplink is back after %s; %s readings wait", lasted, waiting)


class _LaneWatch:
    """Tells of one outbox how full it is, and what it drops."""

    def __init__(self, name: str, outbox: Outbox, monotonic: Callable[[], float]):
        self._name = name
        self._outbox = outbox
        self._monotonic = monotonic
        self._level = 0
        self._dropped: dict[str, int] = outbox.status()["dropped_total"]
        self._dropping: dict[str, tuple[int, float]] = {}
        """By cause: the count before it began, and when it was last seen to grow."""
        self._faulty = False

    async def look(self) -> None:
        """Drop what is too old; tell what is new."""
        try:
            await self._outbox.expire()
            self._faulty = False
        except OSError as error:
            if not self._faulty:
                logger.error("%s: what is too old can't be dropped: %s", self._name, error)
            self._faulty = True
        status = self._outbox.status()
        self._look_at_level(status)
        self._look_at_drops(status["dropped_total"])

    def _look_at_level(self, status: dict[str, Any]) -> None:
        used, most = status["used_bytes"], status["max_bytes"]
        level = sum(used >= part * most for part in LEVELS)
        if level > self._level:
            self._level = level
            percent = round(LEVELS[level - 1] * 100)
            logger.warning("%s: the outbox is %d %% full: %s of %s", self._name, percent, size(used), size(most))
        elif self._level and used < FREE * most:
            self._level = 0
            logger.info("%s: the outbox is free again: %s of %s", self._name, size(used), size(most))

    def _look_at_drops(self, dropped: dict[str, int]) -> None:
        now = self._monotonic()
        for cause, count in dropped.items():
            if count > self._dropped[cause]:
                if cause not in self._dropping:
                    why = "there is no room" if cause == "bytes" else "they are too old"
                    logger.error("%s: the oldest entries are being dropped, since %s", self._name, why)
                before, _ = self._dropping.get(cause, (self._dropped[cause], now))
                self._dropping[cause] = (before, now)
            elif cause in self._dropping and now - self._dropping[cause][1] >= QUIET_SECONDS:
                before, _ = self._dropping.pop(cause)
                logger.warning("%s: nothing is dropped any more; %d entries were", self._name, count - before)
        self._dropped = dropped
