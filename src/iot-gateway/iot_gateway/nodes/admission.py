"""Admission: who is let in, by which protocol, and who is told of it."""

import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from iot_gateway.nodes import credentials, file
from iot_gateway.nodes.errors import NotAllowedError, TooManyAttemptsError, UnknownNodeError, WrongCredentialError
from iot_gateway.nodes.inbox import Inbox
from iot_gateway.nodes.node import CERTIFICATE_NAME, Node
from iot_gateway.nodes.presence import Presence
from iot_gateway.nodes.throttle import Throttle

logger = logging.getLogger(__name__)

OnChange = Callable[[set[str]], None]


class Nodes:
    """The nodes of a gateway.

    A listener calls :meth:`admit` for each connection (or association, or datagram of an unknown peer) and
    :meth:`on_change` once, to end the connections of nodes that are no longer what they were.
    """

    def __init__(self, nodes: Mapping[str, Node] | None = None):
        self.inbox = Inbox()
        self.throttle = Throttle()
        self.presence = Presence()
        self.refused = 0
        """Attempts that were not let in, since the start."""
        self._nodes = dict(nodes or {})
        self._owners: dict[str, dict[str, Node]] = {}
        """By kind of key, and key; made when first asked for."""
        self._listeners: list[OnChange] = []
        self._key = os.urandom(32)
        self._proven: dict[str, bytes] = {}
        """Of each node a keyed digest of the secret that it proved itself with last: a node that returns costs
        microseconds, not an iterated hash, and is let in whatever else its address does."""

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self._nodes)

    @classmethod
    def from_file(cls, path: Path | None) -> "Nodes":
        """Read the nodes; without a file there are none.

        Raises:
            ConfigError: the file can't be used.
        """
        return cls(cls.read(path))

    @staticmethod
    def read(path: Path | None) -> dict[str, Node]:
        """Return the nodes of a file; without a file there are none.

        Raises:
            ConfigError: the file can't be used.
        """
        return file.read(path) if path else {}

    def lookup(self, name: str) -> Node | None:
        """Return the node of that name, enabled or not."""
        return self._nodes.get(name)

    def by_key(self, kind: str, key: str) -> Node | None:
        """Return the node that has this key under ``kind``; see :attr:`Node.keys`."""
        owners = self._owners.get(kind)
        if owners is None:
            owners = {node.keys[kind]: node for node in self._nodes.values() if kind in node.keys}
            self._owners[kind] = owners
        return owners.get(key)

    def certified(self, common_name: str) -> str:
        """Return the name of the node whose verified certificate has this common name.

        Raises:
            NotAllowedError: it is the name of a node whose certificates have another one.
        """
        owner = self.by_key(CERTIFICATE_NAME, common_name)
        if owner is not None:
            return owner.name
        namesake = self._nodes.get(common_name)
        if namesake is not None and CERTIFICATE_NAME in namesake.keys:
            self.refused += 1
            raise NotAllowedError(f"the certificates of node {common_name} bear another name than {common_name!r}")
        return common_name

    def verify(self, name: str, secret: bytes) -> bool:
        """Tell whether ``secret`` is that node's; False for a node that has none, or that is not known."""
        node = self._nodes.get(name)
        if node is None or not node.credential:
            return False
        if self._is_proven(name, secret):
            return True
        if not credentials.fits(node.credential, secret):
            return False
        self._proven[name] = self._digest(secret)
        return True

    def admit(self, protocol: str, name: str, address: str, secret: bytes | None = None) -> Node:
        """Let a node in, or say why not.

        Args:
            protocol: by which it comes, ``mqtt``, ``coap``, ...
            name: that it gives.
            address: that it comes from, for the inbox, the log and the throttle.
            secret: that it gives; None where the transport has proven the name already (a client certificate, a
                pre-shared key, CURVE).

        Raises:
            UnknownNodeError: nobody has that name; it is in the inbox now.
            WrongCredentialError: the secret is not the node's.
            NotAllowedError: the node is disabled, or may not use this protocol.
            TooManyAttemptsError: too many attempts from that address failed lately.
        """
        proven = secret is None or self._is_proven(name, secret)
        if not proven and self.throttle.blocks(address):
            self.refused += 1
            raise TooManyAttemptsError(f"too many attempts from {address} failed")
        node = self._nodes.get(name)
        if node is None:
            self._fail(address)
            if self.inbox.note(name, protocol, address):
                logger.info("an unknown node %s tries from %s by %s", name, address, protocol)
            raise UnknownNodeError(f"no node is called {name!r}")
        if not proven and not self.verify(name, secret or b""):
            self._fail(address)
            raise WrongCredentialError(f"the secret is not that of node {name}")
        if reason := node.refusal(protocol):
            self._fail(address)
            raise NotAllowedError(reason)
        self.presence.seen(name, protocol, address)
        return node

    def _fail(self, address: str) -> None:
        self.refused += 1
        self.throttle.failed(address)

    def _is_proven(self, name: str, secret: bytes) -> bool:
        known = self._proven.get(name)
        return known is not None and hmac.compare_digest(known, self._digest(secret))

    def _digest(self, secret: bytes) -> bytes:
        return hashlib.blake2b(secret, key=self._key, digest_size=16).digest()

    def on_change(self, call: OnChange) -> Callable[[], None]:
        """Have ``call`` called with the names of the nodes that went or changed; return what ends that."""
        self._listeners.append(call)
        return lambda: self._listeners.remove(call)

    def replace(self, nodes: Mapping[str, Node]) -> None:
        """Know these nodes, and no others, from now on; connections of those that stay as they are go on."""
        changed = {name for name, node in self._nodes.items() if nodes.get(name) != node}
        self._nodes = dict(nodes)
        self._owners.clear()
        for name in changed:
            self._proven.pop(name, None)
        for name in nodes:
            self.inbox.forget(name)
        self.presence.keep(set(nodes))
        if changed:
            for call in list(self._listeners):
                try:
                    call(changed)
                except Exception:
                    # The border to a listener: one that fails must not have others go on with nodes that went.
                    logger.exception("a listener can't follow that nodes changed")

    def states(self) -> dict[str, dict[str, Any]]:
        """Return of each node what is known of its coming and going; see :meth:`Presence.of`."""
        return {name: self.presence.of(name) for name in self._nodes}

    def status(self) -> dict[str, Any]:
        """Return how many there are, how many attempts were refused, and the inbox."""
        return {
            "known": len(self._nodes),
            "refused": self.refused,
            "unnameable": self.inbox.unnameable,
            "inbox": [stranger.as_dict() for stranger in self.inbox.strangers()],
        }
