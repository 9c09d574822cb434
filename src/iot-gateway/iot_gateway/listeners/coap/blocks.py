"""Requests that come in blocks (RFC 7959, section 2.5), put together within bounds."""

import time
from collections.abc import Hashable
from enum import Enum
from typing import Final

from iot_gateway.listeners.coap.recent import EXCHANGE_LIFETIME

MOST: Final = 1000
"""Requests that may be under way at once..."""
MOST_BYTES: Final = 4 * 2**20
"""...and what they may hold together; those that were quiet longest make room."""


class Progress(Enum):
    """What is to be answered while a request is not whole."""

    CONTINUE = "2.31"
    INCOMPLETE = "4.08"
    TOO_LARGE = "4.13"


class Blocks:
    """Requests under way."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES, lifetime: float = EXCHANGE_LIFETIME):
        self._most, self._most_bytes, self._lifetime = most, most_bytes, lifetime
        self._parts: dict[Hashable, tuple[float, bytearray]] = {}
        """By request, with when its last block came; in that order."""
        self._bytes = 0

    def __len__(self) -> int:
        """Count the requests under way."""
        return len(self._parts)

    def add(self, key: Hashable, start: int, more: bool, payload: bytes, limit: int) -> bytes | Progress:
        """Take a block.

        Args:
            key: what the blocks of one request have in common.
            start: where the block begins, in bytes.
            more: whether another one follows.
            payload: the block.
            limit: bytes that the whole request may have.

        Returns:
            The whole payload with the last block.
        """
        now = time.monotonic()
        self._expire(now)
        found = self._drop(key)
        gathered = bytearray() if start == 0 or found is None else found
        if start != len(gathered):
            return Progress.INCOMPLETE
        if start + len(payload) > limit:
            return Progress.TOO_LARGE
        gathered += payload
        if not more:
            return bytes(gathered)
        self._parts[key] = (now, gathered)
        self._bytes += len(gathered)
        while len(self._parts) > self._most or self._bytes > self._most_bytes:
            self._drop(next(iter(self._parts)))
        return Progress.CONTINUE

    def _expire(self, now: float) -> None:
        while self._parts:
            key, (at, _) = next(iter(self._parts.items()))
            if now - at < self._lifetime:
                return
            self._drop(key)

    def _drop(self, key: Hashable) -> bytearray | None:
        found = self._parts.pop(key, None)
        if found is None:
            return None
        self._bytes -= len(found[1])
        return found[1]
