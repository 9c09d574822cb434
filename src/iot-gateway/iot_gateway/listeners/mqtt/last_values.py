"""The last value of each telemetry topic, for whoever subscribes at the site's broker.

Nodes may publish a topic hundreds of times a second; the broker gets its newest value, retained, once a second.
"""

from itertools import islice

MAX_TOPICS = 20_000
MAX_PAYLOAD = 4096
"""Bytes; a larger payload is no value to look at, and is not retained."""


class LastValues:
    """What the broker does not know yet: a payload for each topic."""

    def __init__(self, topics: int = MAX_TOPICS):
        self.left_out = 0
        """Values that were not noted: too large, or too many topics wait."""
        self._topics = topics
        self._waiting: dict[str, bytes] = {}

    def __len__(self) -> int:
        """Count the topics that wait."""
        return len(self._waiting)

    def note(self, topic: str, payload: bytes) -> None:
        """Note a topic's newest value."""
        waiting = self._waiting
        if len(payload) <= MAX_PAYLOAD and (topic in waiting or len(waiting) < self._topics):
            waiting[topic] = payload
        else:
            self.left_out += 1

    def take(self, count: int) -> list[tuple[str, bytes]]:
        """Take the values of at most ``count`` topics, those that wait longest."""
        taken = list(islice(self._waiting.items(), count))
        for topic, _ in taken:
            del self._waiting[topic]
        return taken
