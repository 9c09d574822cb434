"""The clock by which entries grow old: it never jumps while a relay runs, and never goes back.

A small board has no clock of its own: it may start in 1970 and be put right by a time server half a minute later.
Reckoned by such a clock, all that was stored before would be half a century old, and dropped.
"""

import time
from collections.abc import Callable


class OutboxClock:
    """Milliseconds since the epoch: from the system's clock at the start, onwards by the monotonic clock."""

    def __init__(
        self,
        last_ms: int,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """Start the clock, no earlier than ``last_ms``: what was stored last in an earlier run."""
        self._monotonic = monotonic
        self._base = max(wall(), last_ms / 1000) - monotonic()

    def now_ms(self) -> int:
        """Return the time."""
        return int((self._base + self._monotonic()) * 1000)
