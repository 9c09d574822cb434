"""The committer: what gathers for one lane is made durable in groups, and only then acknowledged.

One task writes what has gathered with one fdatasync while the next entries gather. So there is no task and no wait
for a single message, and the slower the disk, the larger the groups.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from iot_gateway.errors import OutboxError, OutboxFullError
from iot_gateway.interfaces import Frame, Outbox, Position, Source
from iot_gateway.words import duration

logger = logging.getLogger(__name__)

FRAME_ENTRIES, FRAME_BYTES = 500, 64 * 1024
"""A frame is closed at whichever comes first: it is what has to be read again when a batch ends in its middle."""
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)
"""Waits between attempts while the outbox is full or the disk refuses; the last is repeated."""


class Committer:
    """Group commit into one outbox."""

    def __init__(self, outbox: Outbox, on_drained: Callable[[], None]):
        """Make the committer of ``outbox``; ``on_drained`` is called after every group, when less is waiting."""
        self.on_commit: Callable[[], None] = lambda: None
        """Called when there is something new in the outbox."""
        self.waiting_bytes = 0
        """Payload bytes that are in memory only."""
        self.refusal: str | None = None
        """Why the outbox takes nothing now; None while all is well."""
        self._outbox = outbox
        self._on_drained = on_drained
        self._wake = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self._lines: list[bytes] = []
        self._tokens: dict[Source, list[Any]] = {}
        self._then: list[Callable[[Position], None]] = []
        self._gathered_bytes = 0

    def add(self, lines: list[bytes], size: int, source: Source, token: Any) -> None:
        """Gather a payload's entries; ``source`` gets its ``token`` back once they are durable."""
        self._lines += lines
        if token is not None:
            tokens = self._tokens.get(source)
            if tokens is None:
                self._tokens[source] = [token]
            else:
                tokens.append(token)
        self._gathered_bytes += size
        self.waiting_bytes += size
        self._wake.set()

    def then(self, call: Callable[[Position], None]) -> None:
        """Call ``call`` with the outbox's tail once what was gathered last is durable."""
        self._then.append(call)

    async def run(self) -> None:
        """Commit groups until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.commit()

    async def commit(self) -> None:
        """Make durable all that was gathered; waits for as long as the outbox can't take it."""
        lines, tokens, then, size = self._lines, self._tokens, self._then, self._gathered_bytes
        self._begin()
        if lines:
            await self._append(_frames(lines))
        self.waiting_bytes -= size
        for source, acknowledged in tokens.items():
            source.acknowledge(acknowledged)
        for call in then:
            call(self._outbox.tail)
        self._on_drained()

    async def _append(self, frames: list[Frame]) -> None:
        attempts = 0
        refused = 0.0
        stored = 0
        count = len(frames)
        while stored < len(frames):
            try:
                await self._outbox.append(frames[stored : stored + count])
            except OutboxError as error:
                if isinstance(error, OutboxFullError) and count > 1:
                    # All that waited may be more than there is room for, even in an outbox that runs empty again
                    # and again: then it goes in piece by piece.
                    count = 1
                    continue
                if not self.refusal:
                    refused = time.monotonic()
                    logger.error("%s: nothing more is acknowledged until there is room", error)
                self.refusal = str(error)
                await asyncio.sleep(RETRY_SECONDS[min(attempts, len(RETRY_SECONDS) - 1)])
                attempts += 1
            else:
                stored += count
                self.on_commit()
        if self.refusal:
            logger.info("storing again, after %s", duration(time.monotonic() - refused))
            self.refusal = None


def _frames(lines: list[bytes]) -> list[Frame]:
    frames: list[Frame] = []
    begin = size = 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size >= FRAME_BYTES or index - begin + 1 >= FRAME_ENTRIES or index + 1 == len(lines):
            frames.append(Frame(index + 1 - begin, b"\n".join(lines[begin : index + 1]) + b"\n"))
            begin, size = index + 1, 0
    return frames
