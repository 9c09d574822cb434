"""What is due when: found without a look at all that is not."""

import heapq
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", str, tuple[str, str])

_SPARE: Final = 64


class Deadlines(Generic[Key]):
    """Times by key, in seconds on whatever clock its user has."""

    def __init__(self):
        self._times: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        """With entries that no longer hold; they go when they come to the top, or when there are too many."""

    def set(self, key: Key, time: float) -> None:
        """Have a key be due at a time, and at no other."""
        self._times[key] = time
        heapq.heappush(self._heap, (time, key))
        if len(self._heap) > 2 * len(self._times) + _SPARE:
            self._heap = [(time, key) for key, time in self._times.items()]
            heapq.heapify(self._heap)

    def discard(self, key: Key) -> None:
        """Have a key not be due."""
        self._times.pop(key, None)

    @property
    def next(self) -> float:
        """When something is due next; infinity where nothing is."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")

    def due(self, now: float) -> Key | None:
        """Return the key that is due longest, if one is; it stays so."""
        return self._heap[0][1] if self.next <= now else None

    def take(self, now: float) -> list[Key]:
        """Return the keys that are due, the one that is so longest first; they are no longer."""
        found: list[Key] = []
        while (key := self.due(now)) is not None:
            self.discard(key)
            found.append(key)
        return found
