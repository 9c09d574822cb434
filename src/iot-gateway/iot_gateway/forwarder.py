"""The forwarder: sends one lane's parcels through the uplink and advances the outbox as they are confirmed.

Parcels are sent ahead up to a window. A parcel leaves the window when the checkpoint that covers it is on disk, not
when it is confirmed: so the window bounds what can be sent twice after a kill or a power cut, and nothing else does.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from iot_gateway.interfaces import Outbox, Outcome, Sender
from iot_gateway.packer import Packer, Parcel

logger = logging.getLogger(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a parcel that was not taken is sent again; the last is repeated."""


class _State(Enum):
    WAITING = 0
    SENT = 1
    CONFIRMED = 2


@dataclass(slots=True, eq=False)
class _InFlight:
    parcel: Parcel
    state: _State = _State.WAITING
    attempt: int = 0
    """Which sending an outcome belongs to: those of earlier ones are late and mean nothing."""
    not_before: float = 0.0
    refusals: int = 0


class Forwarder:
    """Carries one outbox's entries to a sender, in order, each at least once."""

    def __init__(self, name: str, outbox: Outbox, packer: Packer, sender: Sender, window: int):
        self.window = window
        """Parcels that may be sent and not yet covered by a checkpoint."""
        self.packer = packer
        self.confirmed = self.confirmed_parcels = self.resent = 0
        self.error: str | None = None
        """Why the other end does not take a parcel; None while it does."""
        self._name = name
        self._outbox = outbox
        self._flying: deque[_InFlight] = deque()
        self._wake = asyncio.Event()
        self._confirmed_some = asyncio.Event()
        self.use(sender)

    def use(self, sender: Sender) -> None:
        """Send through ``sender`` from now on; what the former one had not confirmed is sent again."""
        self._sender = sender
        sender.on_change = self._wake.set
        for parcel in self._flying:
            if parcel.state is _State.SENT:
                parcel.state = _State.WAITING
                parcel.attempt += 1
        self._wake.set()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    async def run(self) -> None:
        """Send and advance until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._advance())

    async def drain(self, timeout: float) -> None:
        """Give what is in flight time to be confirmed; call while :meth:`run` runs, with nothing new coming."""
        deadline = time.monotonic() + timeout
        while self._flying and self._sender.ready and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            wait = self._send_what_can_be() if self._sender.ready else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _send_what_can_be(self) -> float | None:
        """Send; return the seconds after which there is more to do without being woken, None for never."""
        now = time.monotonic()
        waits: list[float] = []
        for parcel in self._flying:
            if parcel.state is _State.WAITING:
                if parcel.not_before <= now:
                    self.resent += 1
                    self._publish(parcel)
                else:
                    waits.append(parcel.not_before - now)
        while len(self._flying) < self.window:
            taken = self.packer.take()
            if taken is None:
                waits.append(self.packer.wait())
                break
            parcel = _InFlight(taken)
            self._flying.append(parcel)
            self._publish(parcel)
        shortest = min(waits, default=float("inf"))
        return None if shortest == float("inf") else shortest

    def _publish(self, parcel: _InFlight) -> None:
        parcel.state = _State.SENT
        parcel.attempt += 1
        self._sender.publish(parcel.parcel.envelope, partial(self._done, parcel, parcel.attempt))

    def _done(self, parcel: _InFlight, attempt: int, outcome: Outcome) -> None:
        if parcel.attempt != attempt or parcel.state is not _State.SENT:
            return
        if outcome is Outcome.CONFIRMED:
            parcel.state = _State.CONFIRMED
            if self.error:
                logger.info("%s: taken again by the other end", self._name)
                self.error = None
            self._confirmed_some.set()
            return
        parcel.state = _State.WAITING
        if outcome is not Outcome.LOST:
            parcel.not_before = time.monotonic() + RETRY_SECONDS[min(parcel.refusals, len(RETRY_SECONDS) - 1)]
            parcel.refusals += 1
            if not self.error:
                logger.error(
                    "%s: a message was %s by the other end; it is kept and sent again", self._name, outcome.value
                )
            self.error = f"{outcome.value}: {parcel.parcel.envelope.key}"
        self._wake.set()

    async def _advance(self) -> None:
        while True:
            await self._confirmed_some.wait()
            self._confirmed_some.clear()
            parcels = entries = 0
            for parcel in self._flying:
                if parcel.state is not _State.CONFIRMED:
                    break
                parcels += 1
                entries += parcel.parcel.entries
            if not parcels:
                continue
            await self._save(self._flying[parcels - 1].parcel, entries)
            for _ in range(parcels):
                self._flying.popleft()
            self.confirmed += entries
            self.confirmed_parcels += parcels
            self._wake.set()

    async def _save(self, last: Parcel, entries: int) -> None:
        while True:
            try:
                await self._outbox.advance(last.end, entries)
            except OSError as error:
                self.error = f"checkpoint: {error}"
                logger.error("%s: the checkpoint can't be saved, nothing more is sent meanwhile: %s", self._name, error)
                await asyncio.sleep(1)
            else:
                if self.error and self.error.startswith("checkpoint: "):
                    self.error = None
                return

    def status(self) -> dict[str, Any]:
        """Return the figures of the lane since the start."""
        return {
            "confirmed": self.confirmed,
            "messages_confirmed": self.confirmed_parcels,
            "messages_in_flight": len(self._flying),
            "messages_resent": self.resent,
            "error": self.error,
        }
