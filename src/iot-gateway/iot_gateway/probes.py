"""Probes: payloads whose way through the relay is followed one by one, to prove that it works.

A probe is what the node :data:`NODE` sends. It travels like any other payload; its readings bear the name that the
probe gave itself, ``smoke-test:<id>``, so no account of another node counts them.
"""

from typing import Literal

from iot_gateway.interfaces import Outbox, Position

NODE = "smoke-test"
_KEPT = 16

State = Literal["stored", "confirmed", "dead letter"]


class Probes:
    """What became of the latest probes."""

    def __init__(self):
        self._stored: dict[str, Position | None] = {}

    def stored(self, name: str, tail: Position | None) -> None:
        """Note that a probe is on disk, before ``tail``; None if it became a dead letter."""
        self._stored[name] = tail
        while len(self._stored) > _KEPT:
            del self._stored[next(iter(self._stored))]

    def states(self, outbox: Outbox) -> dict[str, State]:
        """Return each probe's state, given the outbox where the readings of probes wait."""
        return {name: _state(tail, outbox) for name, tail in self._stored.items()}


def _state(tail: Position | None, outbox: Outbox) -> State:
    if tail is None:
        return "dead letter"
    return "stored" if outbox.holds(tail) else "confirmed"
