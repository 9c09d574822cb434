"""Registrations (LwM2M 1.1 core, section 6.2): which nodes are there, what they offer, until when."""

import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from iot_gateway.listeners.lwm2m import objects, values
from iot_gateway.listeners.lwm2m.objects import Path

DEFAULT_LIFETIME: Final = 86400
GRACE: Final = 93.0
"""Seconds behind the lifetime: an update may be on its way (MAX_TRANSMIT_WAIT)."""
MOST_INSTANCES: Final = 64
"""Instances of one node that are observed."""

_PREFERRED: Final = (values.SENML_CBOR, values.SENML_JSON, values.TLV)
# Neither stands in a URI (RFC 3986); were < let in, many of them would be looked at again and again.
_LINK = re.compile(r'<([^<>]*)>((?:;[a-z0-9*_-]+(?:=(?:"[^"]*"|[^",;]*))?)*)', re.IGNORECASE)
_ATTRIBUTE = re.compile(r';([a-z0-9*_-]+)(?:=(?:"([^"]*)"|([^",;]*)))?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a node says that it has, in link format (RFC 6690)."""

    root: tuple[str, ...] = ()
    """What stands before the paths of its objects."""
    instances: tuple[Path, ...] = ()
    """Instances of objects that the gateway knows."""
    formats: frozenset[int] = frozenset()
    """Content formats that it can write; empty if it does not say."""

    @classmethod
    def parse(cls, text: str) -> "Offer":
        """Read it; what can't be read is passed over, as an unknown object is."""
        root, formats = "", frozenset[int]()
        links = [(match[1], _attributes(match[2])) for match in _LINK.finditer(text)]
        for path, attributes in links:
            if "oma.lwm2m" in attributes.get("rt", "").split():
                root = path.rstrip("/")
                formats = frozenset(int(part) for part in attributes.get("ct", "").split() if part.isdigit())
        found: list[Path] = []
        for link, _ in links:
            path = objects.parse_path(link.removeprefix(root)) if link.startswith(root) else None
            if path is not None and len(path) == 2 and path[0] in objects.OBJECTS:
                found.append(path)
        unique = tuple(dict.fromkeys(found))[:MOST_INSTANCES]
        return cls(tuple(part for part in root.split("/") if part), unique, formats)


def _attributes(text: str) -> dict[str, str]:
    return {match[1].lower(): match[2] or match[3] or "" for match in _ATTRIBUTE.finditer(text)}


@dataclass(slots=True, eq=False)
class Registration:
    """One node that registered."""

    identifier: str
    node: str
    remote: Any
    """Where requests go to, as aiocoap has it."""
    lifetime: int
    queue: bool
    """Whether it is in queue mode: it listens only for a while after it spoke (section 6.5)."""
    offer: Offer
    secure: bool
    expires: float = 0.0
    """On the monotonic clock."""
    awake_until: float = 0.0
    """On the monotonic clock; only in queue mode of any meaning."""
    units: dict[Path, str] = field(default_factory=dict[Path, str])
    observed: dict[Path, Any] = field(default_factory=dict[Path, Any])
    """By path, what ends the observation."""
    polled: set[Path] = field(default_factory=set[Path])
    """Paths whose values it tells, and which it does not let be observed."""
    poll_at: float = 0.0
    """On the monotonic clock."""
    wanting: bool = True
    """Whether something that it offers is not observed yet."""

    def renew(self) -> None:
        """Let the lifetime begin anew."""
        self.expires = time.monotonic() + self.lifetime + GRACE

    @property
    def expires_at(self) -> float:
        """When it expires, in seconds since the epoch, as far as the system's clock can be trusted."""
        return time.time() + self.expires - time.monotonic()

    def resume(self, expires_at: float) -> None:
        """Go on with a lifetime that began before the gateway was started.

        Time in which there was no gateway counts: when a lifetime is over, the server must remove the registration and
        the node must register anew, whether or not it is in queue mode (LwM2M 1.1 core, section 6.2). An update that
        was under way meanwhile is within :data:`GRACE`. By a clock that was set back, it begins anew.
        """
        self.expires = time.monotonic() + min(expires_at - time.time(), self.lifetime + GRACE)

    @property
    def address(self) -> Any:
        """The address on the network."""
        return getattr(self.remote, "underlying_address", self.remote)

    @property
    def reachable(self) -> bool:
        """Whether the node can be expected to listen."""
        return not self.queue or time.monotonic() < self.awake_until

    @property
    def due(self) -> bool:
        """Whether it should be asked now for what it does not let be observed."""
        return bool(self.polled) and self.reachable and time.monotonic() >= self.poll_at

    @property
    def accept(self) -> int | None:
        """The content format that it is asked for; None for its own choice."""
        return next((number for number in _PREFERRED if number in self.offer.formats), None)


class Registry:
    """The registrations, one a node."""

    def __init__(self):
        self._by_id: dict[str, Registration] = {}
        self._by_node: dict[str, Registration] = {}
        self._by_peer: dict[Any, Registration] = {}
        self.changed = False
        """Whether there is something to write down."""

    def __len__(self) -> int:
        """Count the registrations."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Registration]:
        """Iterate over the registrations."""
        return iter(list(self._by_id.values()))

    @staticmethod
    def new_identifier() -> str:
        """Return an identifier that nobody guesses."""
        return secrets.token_urlsafe(9)

    def add(self, registration: Registration) -> Registration | None:
        """Add a registration; return the node's former one, which it replaces."""
        former = self._by_node.get(registration.node)
        if former is not None:
            self.remove(former)
        self._by_id[registration.identifier] = self._by_node[registration.node] = registration
        self._by_peer[registration.address] = registration
        self.changed = True
        return former

    def remove(self, registration: Registration) -> None:
        """Remove a registration."""
        self._by_id.pop(registration.identifier, None)
        if self._by_node.get(registration.node) is registration:
            del self._by_node[registration.node]
        if self._by_peer.get(registration.address) is registration:
            del self._by_peer[registration.address]
        self.changed = True

    def move(self, registration: Registration, remote: Any) -> bool:
        """Note where a node is; return whether it has moved."""
        moved = registration.address != getattr(remote, "underlying_address", remote)
        if moved and self._by_peer.get(registration.address) is registration:
            del self._by_peer[registration.address]
        registration.remote = remote
        self._by_peer[registration.address] = registration
        self.changed |= moved
        return moved

    def by_id(self, identifier: str) -> Registration | None:
        """Return the registration of an identifier."""
        return self._by_id.get(identifier)

    def of_node(self, node: str) -> Registration | None:
        """Return a node's registration."""
        return self._by_node.get(node)

    def at(self, address: Any) -> Registration | None:
        """Return the registration of who is at an address of the network."""
        return self._by_peer.get(address)

    def expired(self) -> list[Registration]:
        """Return those whose lifetime is over."""
        now = time.monotonic()
        return [registration for registration in self._by_id.values() if registration.expires <= now]
