"""QoS 2: each message is taken once, whatever the connection and the gateway go through (section 4.3.3)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from iot_gateway.listeners.mqtt import publishing
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.ledger import Ledger
from iot_gateway.listeners.mqtt.wire import ProtocolError


class Token(NamedTuple):
    """What stands for a message of QoS 2."""

    client: str
    identifier: bytes
    v5: bool
    """Whether the client can be told that its payload is no reading."""
    offered: set[int]
    """The identifiers that were with the intake when it came: those of its session, by which it is known later."""
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

    def begin(self, client: str, identifier: bytes, v5: bool, most: int) -> Token | None:
        """Take note of a PUBLISH.

        Args:
            client: whose it is.
            identifier: the packet's.
            v5: whether the client speaks MQTT 5.
            most: messages that the client may have unreleased.

        Returns:
            What the message is to be offered with; None for one that is known: it is answered, or will be.

        Raises:
            ProtocolError: the client has too many; nothing is noted of this one.
        """
        number = int.from_bytes(identifier, "big")
        if self._ledger.holds(client, number):
            self._write(client, publishing.PUBREC + identifier)
            return None
        if number in self._offered.get(client, ()):
            return None
        if self.count(client) >= most:
            raise ProtocolError("more messages than it may have unreleased", Reason.RECEIVE_MAXIMUM)
        offered = self._offered.setdefault(client, set())
        offered.add(number)
        return Token(client, identifier, v5, offered)

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
        """The client begins a new session: an identifier of the former one is another message's from now on."""
        self._offered.pop(client, None)
        self._ledger.forget(client)

    def acknowledge(self, tokens: Sequence[Token]) -> None:
        """The messages are stored: note them, then send PUBREC."""
        stored: dict[str, list[Token]] = {}
        for token in tokens:
            if token.refused:
                self._settle([token], publishing.negative(publishing.PUBREC, token.identifier, Reason.PAYLOAD))
            elif self._is_waited_for(token):
                stored.setdefault(token.client, []).append(token)
        for client, of_client in stored.items():
            self._note(client, of_client)

    def _is_waited_for(self, token: Token) -> bool:
        return self._offered.get(token.client) is token.offered

    def _note(self, client: str, tokens: list[Token]) -> None:
        answer = b"".join(publishing.PUBREC + token.identifier for token in tokens)
        numbers = [int.from_bytes(token.identifier, "big") for token in tokens]
        self._ledger.use(client, numbers, lambda: self._settle(tokens, answer))

    def _settle(self, tokens: list[Token], answer: bytes) -> None:
        """Answer messages of one client, unless their session has ended: nobody waits for them then."""
        client, offered = tokens[0].client, tokens[0].offered
        if not self._is_waited_for(tokens[0]):
            return
        offered.difference_update(int.from_bytes(token.identifier, "big") for token in tokens)
        if not offered:
            del self._offered[client]
        self._write(client, answer)
        if session := self._sessions.get(client):
            session.settled(len(tokens))

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
