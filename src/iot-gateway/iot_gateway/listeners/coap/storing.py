"""Payloads on their way to the disk, and the requests that wait to be answered for them."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from iot_gateway.interfaces import Decode, Intake, Source
from iot_gateway.listeners.coap import wire


class Pending(ABC):
    """A request whose payload is not on disk yet."""

    __slots__ = ("answered", "deadline", "reason")

    def __init__(self):
        self.answered = False
        self.deadline = 0.0
        self.reason = ""
        """Why it is no reading; empty if it is one."""

    @abstractmethod
    def reply(self, code: int, diagnostic: str = "", max_age: int | None = None) -> None:
        """Answer the request."""

    def settle(self) -> None:
        """Answer it for good: its payload is on disk."""
        if not self.answered:
            self.answered = True
            if self.reason:
                self.reply(wire.BAD_REQUEST, self.reason)
            else:
                self.reply(wire.CHANGED)


class Storing(Source):
    """Where payloads of CoAP come from."""

    def __init__(self, intake: Intake, seconds: float, retry: int):
        self.seconds = seconds
        """How long a request waits for the disk."""
        self.retry = retry
        self.unavailable = 0
        """Requests that were answered by 5.03."""
        self._intake = intake
        self._waiting: deque[Pending] = deque()
        self._paused = False
        self._stalled = False
        """A request waited too long. Further ones are sent away at once until something is stored: nodes repeat them,
        and each repetition would only be one more of the same in memory."""

    @property
    def takes(self) -> bool:
        """Whether the disk keeps up."""
        return not (self._paused or self._stalled)

    def offer(self, node: str, topic: str, payload: bytes, decode: Decode | None, pending: Pending) -> None:
        """Take a payload; its request is answered later, or at once if nothing can be stored now."""
        if not self.takes:
            pending.answered = True
            self._send_away(pending)
            return
        pending.deadline = time.monotonic() + self.seconds
        self._waiting.append(pending)
        self._intake.offer(self, node, topic, payload, pending, decode)

    def _send_away(self, pending: Pending) -> None:
        self.unavailable += 1
        pending.reply(wire.UNAVAILABLE, "readings can't be stored now", self.retry)

    def acknowledge(self, tokens: Sequence[Pending]) -> None:
        """Answer requests: their payloads are on disk."""
        self._stalled = False
        for pending in tokens:
            pending.settle()

    def refused(self, token: Pending, reason: str) -> Pending:
        """Note why a payload is no reading."""
        token.reason = reason
        return token

    def pause(self) -> None:
        """Send requests away: memory is full of what waits for the disk."""
        self._paused = True

    def resume(self) -> None:
        """Take payloads again."""
        self._paused = False

    def check(self) -> None:
        """Send away those that waited too long; what they brought is stored all the same."""
        now = time.monotonic()
        waiting = self._waiting
        while waiting and (waiting[0].answered or waiting[0].deadline <= now):
            pending = waiting.popleft()
            if not pending.answered:
                pending.answered = True
                self._stalled = True
                self._send_away(pending)
