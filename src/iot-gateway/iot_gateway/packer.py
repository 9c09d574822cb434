"""The packer: reads an outbox in order and forms what is sent in one message."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from iot_gateway.dead_letters import DeadLetter
from iot_gateway.interfaces import Envelope, Outbox, Position, Stored
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
    entries: int
    end: Position


Wrap = Callable[[bytes, int, Position], Envelope]
"""Makes the envelope of some lines (body, how many, where they began)."""


class Packer:
    """Forms the parcels of one lane."""

    def __init__(self, outbox: Outbox, limits: Limits, wrap: Wrap):
        self.limits = limits
        self.wrap = wrap
        self._outbox = outbox
        self._next = outbox.head
        self._begin()

    def _begin(self) -> None:
        self._start = self._next
        self._parts: list[bytes] = []
        self._entries = self._size = 0
        self._opened: float | None = None

    def take(self) -> Parcel | None:
        """Return the next parcel, or None while it is not complete."""
        limits = self.limits
        while self._entries < limits.entries and self._size < limits.bytes:
            found = self._outbox.read(self._next)
            if found is None:
                break
            self._add(found)
        if not self._entries:
            return None
        if self._opened is None:
            self._opened = time.monotonic()
        if self._entries < limits.entries and self._size < limits.bytes and self.wait() > 0:
            return None
        parcel = Parcel(self.wrap(b"".join(self._parts), self._entries, self._start), self._entries, self._next)
        self._begin()
        return parcel

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
