"""Messages that came lately, so that a repetition is answered as the first was (RFC 7252, section 4.5)."""

import time
from typing import Final

EXCHANGE_LIFETIME: Final = 247.0
"""Seconds that a message ID may not be used again (section 4.8.2)."""
MESSAGES: Final = 32_768
"""In one generation; there are two. At 3,000 requests a second they reach back 10 to 20 s: a node repeats itself after
2 to 3 s, and what comes twice all the same is told by its time or sequence number further on."""
UNANSWERED: Final = 0

Answer = int | bytes
"""A code, where nothing else is in the answer; or all of it, ready to be sent; or UNANSWERED."""


class Recent:
    """Answers by address and message ID; bounded, the oldest generation is forgotten."""

    def __init__(self, messages: int = MESSAGES, lifetime: float = EXCHANGE_LIFETIME):
        self._most = messages
        self._lifetime = lifetime
        self._young: dict[int, Answer] = {}
        self._old: dict[int, Answer] = {}
        self._turned = time.monotonic()

    def __len__(self) -> int:
        """Count what is remembered."""
        return len(self._young) + len(self._old)

    def get(self, key: int) -> Answer | None:
        """Return the answer of a message; None for one that is new."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, key: int, answer: Answer) -> None:
        """Note a message, or its answer."""
        self._young[key] = answer
        if len(self._young) >= self._most:
            self._turn()

    def answer(self, key: int, answer: Answer) -> None:
        """Note the answer of a message, if it is remembered."""
        if self.get(key) is not None:
            self.put(key, answer)

    def age(self) -> None:
        """Forget what is older than a lifetime; to be called now and then."""
        if time.monotonic() - self._turned > self._lifetime:
            self._turn()

    def _turn(self) -> None:
        self._old, self._young = self._young, {}
        self._turned = time.monotonic()


def key(address: tuple[str, int], identifier: int) -> int:
    """Return the key of a message.

    A number is small, and a hash of strings can't be foreseen by who would like to meet another's.
    """
    return hash((address[0], address[1], identifier))
