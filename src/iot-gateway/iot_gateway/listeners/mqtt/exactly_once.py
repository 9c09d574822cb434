"""QoS 2: each message is taken once, whatever the connection and the gateway go through (section 4.3.3)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from iot_gateway.listeners.mqtt import publishing
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.ledger import Ledger


class Token(NamedTuple):
    """What stands for a message of QoS 2."""

    client: str
    identifier: bytes
    v5: bool
    """Whether the client can be told that its payload is no reading."""
    refused: bool = False


class Session(Protocol):
    """The connection that a client has now."""

    def write(self, data: bytes) -> None:
        """Send to the client."""
        ...

    def settled(self, count: int) -> None:
        """So many messages more are acknowledged."""
        ...

    def end(self, reason: Reason | None) -> None:
        """End the connection: the client has another now."""
        ...


class ExactlyOnce:
    """The source of all payloads of QoS 2.

    One for all connections: a client that returns before its message is stored gets the answer on the connection
    that it has then.
    """

    def __init__(self, ledger: Ledger, sessions: dict[str, Session], on_pause: Callable[[bool], None]):
        self._ledger = ledger
        self._sessions = sessions
        self._on_pause = on_pause
        self._offered: dict[str, set[int]] = {}
        """What the intake has and the ledger has not."""

    def begins(self, client: str, identifier: bytes) -> bool:
        """Tell whether a PUBLISH brings a new message, which then is to be offered; one that is known is answered."""
        number = int.from_bytes(identifier, "big")
        if self._ledger.holds(client, number):
            self._write(client, publishing.PUBREC + identifier)
            return False
        offered = self._offered.setdefault(client, set())
        if number in offered:
            return False
        offered.add(number)
        return True

    def count(self, client: str) -> int:
        """Count the messages of a client that are not released yet."""
        return len(self._offered.get(client, ())) + self._ledger.count(client)

    def holds(self, client: str, identifier: bytes) -> bool:
        """Tell whether a PUBREL is about a message that was taken here."""
        return self._ledger.holds(client, int.from_bytes(identifier, "big"))

    def release(self, client: str, identifier: bytes) -> None:
        """The client has the PUBREC: its identifier may be used again once that is on disk."""
        number = int.from_bytes(identifier, "big")
        self._ledger.release(client, [number], lambda: self._write(client, publishing.PUBCOMP + identifier))

    def forget(self, client: str) -> None:
        """The client begins a new session."""
        self._ledger.forget(client)

    def acknowledge(self, tokens: Sequence[Token]) -> None:
        """The messages are stored: note them, then send PUBREC."""
        stored: dict[str, list[bytes]] = {}
        for client, identifier, _, refused in tokens:
            if refused:
                self._settle(client, [identifier], publishing.negative(publishing.PUBREC, identifier, Reason.PAYLOAD))
            else:
                stored.setdefault(client, []).append(identifier)
        for client, identifiers in stored.items():
            self._note(client, identifiers)

    def _note(self, client: str, identifiers: list[bytes]) -> None:
        answer = b"".join(publishing.PUBREC + identifier for identifier in identifiers)
        numbers = [int.from_bytes(identifier, "big") for identifier in identifiers]
        self._ledger.use(client, numbers, lambda: self._settle(client, identifiers, answer))

    def _settle(self, client: str, identifiers: list[bytes], answer: bytes) -> None:
        offered = self._offered.get(client)
        if offered is not None:
            offered.difference_update(int.from_bytes(identifier, "big") for identifier in identifiers)
            if not offered:
                del self._offered[client]
        self._write(client, answer)
        if session := self._sessions.get(client):
            session.settled(len(identifiers))

    def _write(self, client: str, data: bytes) -> None:
        if session := self._sessions.get(client):
            session.write(data)

    def refused(self, token: Token, reason: str) -> Token:  # noqa: ARG002
        """Tell the client, if it speaks MQTT 5; in MQTT 3.1.1 there is no way to."""
        return token._replace(refused=token.v5)

    def pause(self) -> None:
        """Take no more payloads."""
        self._on_pause(True)

    def resume(self) -> None:
        """Go on taking payloads."""
        self._on_pause(False)
