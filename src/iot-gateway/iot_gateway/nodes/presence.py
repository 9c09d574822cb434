"""Presence: which nodes are connected, and when each was last heard of, since the relay's start."""

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class _Trace:
    protocol: str = ""
    address: str = ""
    at: float = 0.0
    connections: dict[str, int] = field(default_factory=dict[str, int])
    """By protocol, for transports that have connections at all."""


class Presence:
    """What is known of the nodes' coming and going."""

    def __init__(self):
        self._traces: dict[str, _Trace] = {}

    def seen(self, name: str, protocol: str, address: str) -> None:
        """Note that a node was let in."""
        trace = self._traces.setdefault(name, _Trace())
        trace.protocol, trace.at = protocol, time.time()
        trace.address = address or trace.address

    def arrived(self, name: str, protocol: str) -> None:
        """Note a connection; :meth:`left` must follow."""
        connections = self._traces.setdefault(name, _Trace()).connections
        connections[protocol] = connections.get(protocol, 0) + 1

    def left(self, name: str, protocol: str) -> None:
        """Note the end of a connection."""
        trace = self._traces.get(name)
        if trace is None:
            return  # its node went before it
        trace.at = time.time()
        if trace.connections.get(protocol, 0) > 1:
            trace.connections[protocol] -= 1
        else:
            trace.connections.pop(protocol, None)

    def keep(self, names: set[str]) -> None:
        """Forget the nodes that are no longer known."""
        for name in self._traces.keys() - names:
            del self._traces[name]

    def of(self, name: str) -> dict[str, Any]:
        """Return what is known of a node.

        ``connected``: the protocols by which it has a connection; ``last_seen``: seconds since the epoch, now for one
        that is connected, 0 for one that did not come since the start; ``protocol`` and ``address`` of its last coming.
        """
        trace = self._traces.get(name, _Trace())
        return {
            "connected": sorted(trace.connections),
            "last_seen": round(time.time() if trace.connections else trace.at, 3),
            "protocol": trace.protocol,
            "address": trace.address,
        }
