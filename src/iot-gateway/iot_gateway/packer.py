"""The packer: reads an outbox in order and forms what is sent in one message."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from iot_gateway.dead_letters import DeadLetter
from iot_gateway.interfaces import END, Confirmed, Envelope, Outbox, Position, Stored
from iot_telemetry import batch


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is complete: at whichever comes first."""

    entries: int
    bytes: int
    seconds: float
    """Age of its first entry, since it could be read from the outbox."""


class Parcel(NamedTuple):
    """A message and what it takes off the outbox."""

    envelope: Envelope
    part: Confirmed

    @property
    def entries(self) -> int:
        """How many it holds."""
        return self.part.entries


Wrap = Callable[[bytes, int, Position], Envelope]
"""Makes the envelope of some lines (body, how many, where they began)."""
Stretch = tuple[Position, Position]
"""From a position up to, and without, another."""


class Packer:
    """Forms the parcels of some stretches of an outbox; what is confirmed in them is passed over.

    The entries of a parcel lie in one segment and in one stretch: it is complete, however small, where either ends.
    """

    def __init__(self, outbox: Outbox, limits: Limits, wrap: Wrap, stretches: Iterable[Stretch] | None = None):
        """Make the packer of ``stretches``; without any, of all that is not confirmed and of all that will come."""
        self.limits = limits
        self.wrap = wrap
        self._outbox = outbox
        self._stretches: deque[Stretch] = deque([(outbox.head, END)] if stretches is None else stretches)
        self._next = self._stretches[0][0]
        self._begin()

    def _begin(self) -> None:
        self._begun = self._start = self._next
        self._parts: list[bytes] = []
        self._entries = self._size = 0
        self._opened: float | None = None
        self._ended = False

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left, and nothing will come."""
        return not self._stretches

    @property
    def stretches(self) -> int:
        """How many there are."""
        return len(self._stretches)

    def extend(self, begin: Position, end: Position) -> None:
        """Take on a further stretch, behind the others."""
        if self._stretches and self._stretches[-1][1] == begin:
            self._stretches[-1] = (self._stretches[-1][0], end)
        else:
            self._stretches.append((begin, end))
            if len(self._stretches) == 1:
                self._next = begin
                self._begin()

    def skip_to(self, end: Position) -> Stretch:
        """Go on at ``end``; return the stretch that is left out: what was not in a parcel yet."""
        left = (self._begun, end)
        self._stretches = deque([(end, END)])
        self._next = end
        self._begin()
        return left

    def take(self) -> Parcel | None:
        """Return the next parcel, or None while it is not complete."""
        limits = self.limits
        while self._entries < limits.entries and self._size < limits.bytes and not self._ended:
            found = self._read()
            if found is None:
                break
            self._add(found)
        if not self._entries:
            return None
        if self._opened is None:
            self._opened = time.monotonic()
        full = self._entries >= limits.entries or self._size >= limits.bytes
        if not full and not self._ended and self.wait() > 0:
            return None
        envelope = self.wrap(b"".join(self._parts), self._entries, self._start)
        parcel = Parcel(envelope, Confirmed(self._begun, self._next, self._entries))
        self._begin()
        return parcel

    def _read(self) -> Stored | None:
        """Return the next frame that belongs into the open parcel; None if there is none, or not yet."""
        while self._stretches:
            end = self._stretches[0][1]
            found = self._outbox.read(self._next)
            if found is not None and found.start < end:
                self._ended = self._entries > 0 and found.start.segment != self._start.segment
                return None if self._ended else found
            if end == END:
                return None
            if self._entries:
                self._ended = True
                return None
            self._stretches.popleft()
            if self._stretches:
                self._next = self._stretches[0][0]
                self._begin()
        return None

    def _add(self, stored: Stored) -> None:
        (count, body), start, end = stored
        limits = self.limits
        if not self._entries:
            self._start = start
        if not start.skip and self._entries + count <= limits.entries and self._size + len(body) <= limits.bytes:
            self._parts.append(body)
            self._entries += count
            self._size += len(body)
            self._next = end
            return
        lines = body.split(b"\n")
        taken = start.skip
        while taken < count and self._entries < limits.entries and self._size < limits.bytes:
            self._parts += (lines[taken], b"\n")
            self._size += len(lines[taken]) + 1
            self._entries += 1
            taken += 1
        self._next = end if taken == count else start._replace(skip=taken)

    def wait(self) -> float:
        """Return the seconds until the open parcel is due; infinite if there is none."""
        if self._opened is None:
            return float("inf")
        return max(0.0, self._opened + self.limits.seconds - time.monotonic())


def readings_wrap(site: str, gateway: str, encoding: batch.Encoding) -> Wrap:
    """Return what makes the envelope of a batch of readings."""

    def wrap(body: bytes, count: int, start: Position) -> Envelope:
        return Envelope(
            body=batch.encode_body(body, encoding),
            message_id=_message_id(site, gateway, start),
            key=f"{site}.{gateway}",
            timestamp=int(time.time()),
            content_type=batch.CONTENT_TYPE,
            content_encoding=None if encoding == "identity" else encoding,
            headers={"readings": count, "site": site, "gateway": gateway},
        )

    return wrap


def dead_letter_wrap(site: str, gateway: str) -> Wrap:
    """Return what makes the envelope of one dead letter: the raw payload, the rest in headers."""

    def wrap(body: bytes, _count: int, start: Position) -> Envelope:
        letter = DeadLetter.from_line(body)
        return Envelope(
            body=letter.payload,
            message_id=_message_id(site, gateway, start),
            key=f"{site}.{gateway}",
            timestamp=int(letter.received),
            content_type="application/octet-stream",
            headers={
                "reason": letter.reason,
                "topic": letter.topic,
                "received": round(letter.received * 1000),  # milliseconds: AMQP tables written by pika have no floats
                "site": site,
                "gateway": gateway,
            },
        )

    return wrap


def _message_id(site: str, gateway: str, start: Position) -> str:
    # The same entries sent again bear the same identifier.
    return f"{site}.{gateway}.{start.segment:x}.{start.offset:x}.{start.skip:x}"
