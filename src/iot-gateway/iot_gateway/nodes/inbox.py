"""The inbox: nodes that nobody knows, kept so that an operator can let them in."""

import re
import time
from dataclasses import dataclass
from typing import Any

from iot_gateway.nodes.node import NAME

CAPACITY = 256


@dataclass(slots=True)
class Stranger:
    """An unknown node that tried."""

    name: str
    protocol: str
    address: str
    """Where it tried from last."""
    first: float
    last: float
    """Seconds since the epoch."""
    count: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return what the status shows."""
        return {
            "name": self.name,
            "protocol": self.protocol,
            "address": self.address,
            "first": round(self.first, 3),
            "last": round(self.last, 3),
            "count": self.count,
        }


class Inbox:
    """The latest strangers by name and protocol; the one that was quiet longest makes room for a new one."""

    def __init__(self, capacity: int = CAPACITY):
        self._capacity = capacity
        self._strangers: dict[tuple[str, str], Stranger] = {}
        self.unnameable = 0
        """Attempts under a name that no node can have: they can't be approved."""

    def note(self, name: str, protocol: str, address: str) -> bool:
        """Note an attempt; return whether it is the first that is known of this stranger."""
        if not re.fullmatch(NAME, name):
            self.unnameable += 1
            return False
        now = time.time()
        known = self._strangers.pop((name, protocol), None)
        if known is None:
            known = Stranger(name, protocol, address, now, now)
            if len(self._strangers) >= self._capacity:
                del self._strangers[next(iter(self._strangers))]
            self._strangers[name, protocol] = known
            return True
        known.address, known.last = address, now
        known.count += 1
        self._strangers[name, protocol] = known
        return False

    def forget(self, name: str) -> None:
        """Drop a name: it is a node now, or was refused for good."""
        for key in [key for key in self._strangers if key[0] == name]:
            del self._strangers[key]

    def strangers(self) -> list[Stranger]:
        """Return them, the one that tried last first."""
        return list(reversed(self._strangers.values()))
