"""How fast something grows: on the average of the last minutes, and at its fastest."""

from collections import deque

BUCKET_SECONDS = 10.0
BUCKETS = 60


class RateMeter:
    """The rate of a counter, from readings of it that are taken every second or so."""

    def __init__(self, now: float, count: int):
        """Begin to measure, with the counter at ``count``."""
        self._marks: deque[tuple[float, int]] = deque([(now, count)], BUCKETS + 1)
        self._last = (now, count)
        self.peak = 0.0
        """Units a second, in the fastest ten seconds since the start."""

    def see(self, now: float, count: int) -> None:
        """Take a reading."""
        self._last = (now, count)
        begun, before = self._marks[-1]
        if now - begun >= BUCKET_SECONDS:
            self.peak = max(self.peak, (count - before) / (now - begun))
            self._marks.append((now, count))

    @property
    def seconds(self) -> float:
        """How long the average was taken over: ten minutes at most."""
        return self._last[0] - self._marks[0][0]

    @property
    def average(self) -> float:
        """Units a second."""
        return (self._last[1] - self._marks[0][1]) / self.seconds if self.seconds > 0 else 0.0
