"""The forwarder: sends one lane's parcels through the uplink and tells the outbox what is confirmed.

Parcels are sent ahead up to a window. A parcel leaves the window when the checkpoint that covers it is on disk, not
when it is confirmed: so the window bounds what can be sent twice after a kill or a power cut, and nothing else does.

Whenever the link comes back, what the outbox holds at that moment is the *backlog*, and what is appended from then on
is *live*. Each is sent in its own order; which goes first is configuration.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Literal

from iot_gateway.histogram import CONFIRM_SECONDS, Histogram
from iot_gateway.interfaces import Outbox, Outcome, Sender
from iot_gateway.packer import Limits, Packer, Parcel, Wrap

logger = logging.getLogger(__name__)

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a parcel that was not taken is sent again; the last is repeated."""
MAX_STRETCHES: Final = 64
"""With so many stretches between what is confirmed, what follows is sent in order even if newest is to be first."""
NEVER: Final = float("inf")

Order = Literal["oldest-first", "newest-first"]


@dataclass(frozen=True, slots=True)
class Resend:
    """How the backlog is sent."""

    order: Order = "oldest-first"
    """Before what is live, or after it."""
    rate: int = 0
    """Entries a second at most; 0 for no bound."""


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
    sent: float = 0.0


class _Stream:
    """What is sent in one order."""

    def __init__(self, packer: Packer):
        self.packer = packer
        self.flying: deque[_InFlight] = deque()


class Forwarder:
    """Carries one outbox's entries to a sender, each at least once."""

    def __init__(
        self, name: str, outbox: Outbox, limits: Limits, wrap: Wrap, sender: Sender, window: int, resend: Resend
    ):
        self.confirmed = self.confirmed_parcels = self.resent = 0
        self.latency = Histogram(CONFIRM_SECONDS)
        """Seconds from sending to the confirm."""
        self.error: str | None = None
        """Why the other end does not take a parcel; None while it does."""
        self.on_link: Callable[[bool], None] = lambda _: None
        """Called when the sender becomes ready, and when it no longer is."""
        self._name = name
        self._outbox = outbox
        self._window, self._limits, self._wrap, self._resend = window, limits, wrap, resend
        self._live = _Stream(Packer(outbox, limits, wrap))
        self._backlog: _Stream | None = None
        self._backlog_not_before = 0.0
        self._ready = False
        self._wake = asyncio.Event()
        self._confirmed_some = asyncio.Event()
        self.use(sender)

    def use(self, sender: Sender) -> None:
        """Send through ``sender`` from now on; what the former one had not confirmed is sent again."""
        self._sender = sender
        sender.on_change = self._wake.set
        for flying in self._flying():
            if flying.state is _State.SENT:
                flying.state = _State.WAITING
                flying.attempt += 1
        self._wake.set()

    def configure(self, limits: Limits, wrap: Wrap, window: int, resend: Resend) -> None:
        """Use other settings from now on."""
        self._window, self._limits, self._wrap, self._resend = window, limits, wrap, resend
        for stream in self._streams():
            stream.packer.limits, stream.packer.wrap = limits, wrap
        self._backlog_not_before = 0.0
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
        while self._flying() and self._sender.ready and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def _streams(self) -> list[_Stream]:
        """Return what is sent, the first to go first."""
        if self._backlog is None:
            return [self._live]
        newest_first = self._resend.order == "newest-first"
        return [self._live, self._backlog] if newest_first else [self._backlog, self._live]

    def _flying(self) -> list[_InFlight]:
        return [flying for stream in self._streams() for flying in stream.flying]

    async def _send(self) -> None:
        while True:
            self._wake.clear()
            if self._sender.ready != self._ready:
                self._ready = self._sender.ready
                if self._ready:
                    self._split()
                self.on_link(self._ready)
            wait = self._send_what_can_be() if self._ready else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _split(self) -> None:
        """The link is back: what waits now is the backlog."""
        left = self._backlog.packer.stretches if self._backlog else 0
        if self._outbox.gaps + left >= MAX_STRETCHES:
            return
        begin, end = self._live.packer.skip_to(self._outbox.tail)
        if self._outbox.read(begin) is None:
            return
        if self._backlog is None:
            self._backlog = _Stream(Packer(self._outbox, self._limits, self._wrap, [(begin, end)]))
        else:
            self._backlog.packer.extend(begin, end)

    def _send_what_can_be(self) -> float | None:
        """Send; return the seconds after which there is more to do without being woken, None for never."""
        now = time.monotonic()
        shortest = NEVER
        for flying in self._flying():
            if flying.state is _State.WAITING:
                if flying.not_before <= now:
                    self.resent += 1
                    self._publish(flying, now)
                else:
                    shortest = min(shortest, flying.not_before - now)
        for stream in self._streams():
            shortest = min(shortest, self._send_of(stream, now))
            if stream is self._backlog and not self._backlog_goes_beside():
                break
        if self._backlog is not None and self._backlog.packer.exhausted and not self._backlog.flying:
            self._backlog = None
            logger.info("%s: all that waited for the uplink is sent", self._name)
        return None if shortest == NEVER else shortest

    def _backlog_goes_beside(self) -> bool:
        """Tell whether live parcels may be sent although there is a backlog; if not, all of it has to be sent first."""
        return self._resend.order == "newest-first" or self._backlog is None or self._backlog.packer.exhausted

    def _send_of(self, stream: _Stream, now: float) -> float:
        """Send new parcels of a stream; return the seconds until there is another one."""
        is_backlog = stream is self._backlog
        room = self._window - len(self._flying())
        if is_backlog and self._resend.order == "newest-first":
            # The other half is for what is live: it need not wait for the backlog's confirms.
            room = min(room, max(1, self._window // 2) - len(stream.flying))
        while room > 0:
            if is_backlog and now < self._backlog_not_before:
                return self._backlog_not_before - now
            taken = stream.packer.take()
            if taken is None:
                return stream.packer.wait()
            if is_backlog and self._resend.rate:
                self._backlog_not_before = max(now, self._backlog_not_before) + taken.entries / self._resend.rate
            flying = _InFlight(taken)
            stream.flying.append(flying)
            self._publish(flying, now)
            room -= 1
        return NEVER

    def _publish(self, flying: _InFlight, now: float) -> None:
        flying.state = _State.SENT
        flying.attempt += 1
        flying.sent = now
        self._sender.publish(flying.parcel.envelope, partial(self._done, flying, flying.attempt))

    def _done(self, flying: _InFlight, attempt: int, outcome: Outcome) -> None:
        if flying.attempt != attempt or flying.state is not _State.SENT:
            return
        if outcome is Outcome.CONFIRMED:
            flying.state = _State.CONFIRMED
            self.latency.observe(time.monotonic() - flying.sent)
            if self.error:
                logger.info("%s: taken again by the other end", self._name)
                self.error = None
            self._confirmed_some.set()
            return
        flying.state = _State.WAITING
        if outcome is not Outcome.LOST:
            flying.not_before = time.monotonic() + RETRY_SECONDS[min(flying.refusals, len(RETRY_SECONDS) - 1)]
            flying.refusals += 1
            if not self.error:
                logger.error(
                    "%s: a message was %s by the other end; it is kept and sent again", self._name, outcome.value
                )
            self.error = f"{outcome.value}: {flying.parcel.envelope.key}"
        self._wake.set()

    async def _advance(self) -> None:
        while True:
            await self._confirmed_some.wait()
            self._confirmed_some.clear()
            confirmed = {stream: _confirmed(stream) for stream in self._streams()}
            parcels = [parcel for found in confirmed.values() for parcel in found]
            if not parcels:
                continue
            await self._save(parcels)
            for stream, found in confirmed.items():
                for _ in found:
                    stream.flying.popleft()
            self.confirmed += sum(parcel.entries for parcel in parcels)
            self.confirmed_parcels += len(parcels)
            self._wake.set()

    async def _save(self, parcels: list[Parcel]) -> None:
        while True:
            try:
                await self._outbox.confirm([parcel.part for parcel in parcels])
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
            "messages_in_flight": len(self._flying()),
            "messages_resent": self.resent,
            "backlog": self._backlog is not None,
            "error": self.error,
        }


def _confirmed(stream: _Stream) -> list[Parcel]:
    """Return the confirmed parcels before the first that is not."""
    found: list[Parcel] = []
    for flying in stream.flying:
        if flying.state is not _State.CONFIRMED:
            break
        found.append(flying.parcel)
    return found
