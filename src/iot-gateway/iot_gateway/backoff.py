"""How long to wait before the next attempt."""


class Backoff:
    """Doubles from ``first`` to ``longest`` seconds; starts over after :meth:`reset`."""

    def __init__(self, first: float = 0.5, longest: float = 30.0):
        self._first = first
        self._longest = longest
        self._delay = first

    def next(self) -> float:
        """Return the seconds to wait now."""
        delay, self._delay = self._delay, min(self._delay * 2, self._longest)
        return delay

    def reset(self) -> None:
        """It worked: the next fault is the first again."""
        self._delay = self._first
