"""What a client publishes: telemetry and what it says of commands is taken, everything else is the broker's."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from iot_gateway.desk import CommandError
from iot_gateway.interfaces import Source
from iot_gateway.listeners.mqtt import publishing
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.exactly_once import Token
from iot_gateway.listeners.mqtt.hub import Hub
from iot_gateway.listeners.mqtt.states import Pause
from iot_gateway.listeners.mqtt.wire import ProtocolError

TOPICS_KEPT: Final = 64
_FORBIDDEN: Final = "-"
_PASSED: Final = ""
_REPORT: Final = "?"


class Client(Protocol):
    """Whose messages these are."""

    def write(self, data: bytes) -> None:
        """Send to the client."""
        ...

    def pause(self, why: Pause, paused: bool) -> None:
        """Have the client not read, or read again."""
        ...

    def pass_on(self, data: bytes) -> None:
        """Send a packet to the broker."""
        ...

    def on_settled(self) -> None:
        """All that was taken is acknowledged."""
        ...


class Inbound:
    """One client's messages, and the source of its payloads of QoS 0 and 1."""

    __slots__ = (
        "_aliases",
        "_client",
        "_held",
        "_hub",
        "_key",
        "_node",
        "_prefix",
        "_topics",
        "_v5",
        "alias_limit",
        "in_flight",
    )

    def __init__(self, hub: Hub, client: Client, node: str, key: str, v5: bool):
        """Make it.

        Args:
            hub: what connections share.
            client: whose messages come.
            node: that speaks.
            key: under which the client's messages of QoS 2 are known.
            v5: whether it speaks MQTT 5.
        """
        self._hub = hub
        self._client = client
        self._node = node
        self._key = key
        self._v5 = v5
        self._prefix = f"{hub.options.topic_prefix}/{node}"
        self._topics: dict[bytes, str] = {}
        self._aliases: dict[int, bytes] = {}
        self._held = False
        """Whether the client is not read, since too much is not acknowledged."""
        self.alias_limit = 0
        """The highest topic alias that the client may use."""
        self.in_flight = 0
        """Messages that are not acknowledged yet."""

    def publish(self, data: bytes, begin: int, start: int, end: int) -> None:
        """Take a PUBLISH.

        Raises:
            ProtocolError: it is malformed, or one too many.
        """
        first = data[begin]
        topic, payload, identifier, alias = publishing.read(first, data, start, end, self._v5)
        if alias:
            topic = self._unalias(alias, topic)
        name = self._topics.get(topic)
        if name is None:
            name = self._classify(topic)
        if name is _PASSED or (not payload and first & publishing.RETAIN):
            # An empty retained message takes the topic's last value away, which is the broker's.
            self._client.pass_on(data[begin:end])
        elif name is _FORBIDDEN:
            self._forbid(first, identifier)
        elif name is _REPORT:
            self._report(first, payload, identifier)
        elif first & publishing.EXACTLY_ONCE:
            self._publish_once(name, payload, identifier)
        else:
            token = None
            if identifier:
                token = publishing.PUBACK + identifier
                self.in_flight += 1
                if self.in_flight > self._hub.options.receive_maximum:
                    self._too_many()
            hub = self._hub
            if hub.intake.offer(self, self._node, name, payload, token) and hub.options.last_values:
                hub.values.note(name, payload)

    def _publish_once(self, name: str, payload: bytes, identifier: bytes) -> None:
        hub = self._hub
        token = self._begin_once(identifier)
        if token is None:
            return
        if hub.intake.offer(hub.exactly_once, self._node, name, payload, token) and hub.options.last_values:
            hub.values.note(name, payload)

    def _begin_once(self, identifier: bytes) -> Token | None:
        """Return what a message of QoS 2 is to be acknowledged with; None for one that is known."""
        hub = self._hub
        token = hub.exactly_once.begin(self._key, identifier, self._v5, hub.options.receive_maximum)
        if token is not None:
            self.in_flight += 1
        return token

    def _report(self, first: int, payload: bytes, identifier: bytes) -> None:
        """Take what the node says of a command; it is acknowledged once it is in the desk's book."""
        hub = self._hub
        hub.counters.reports += 1
        source: Source = self
        token: Any = None
        if first & publishing.EXACTLY_ONCE:
            source, token = hub.exactly_once, self._begin_once(identifier)
            if token is None:
                return
        elif identifier:
            token = publishing.PUBACK + identifier
            self.in_flight += 1
            if self.in_flight > hub.options.receive_maximum:
                self._too_many()
        elif hub.reports.waiting > hub.options.receive_maximum:
            return  # QoS 0 promises nothing
        try:
            hub.reports.take(self._node, payload, lambda: None if token is None else source.acknowledge([token]))
        except CommandError as error:
            hub.intake.bury(source, f"{hub.options.commands_prefix}/{self._node}/state", payload, str(error), token)

    def _too_many(self) -> None:
        if self._v5:
            raise ProtocolError("more messages than it may have unacknowledged", Reason.RECEIVE_MAXIMUM)
        # MQTT 3.1.1 knows no such bound: what comes after it waits in the network.
        self._held = True
        self._client.pause(Pause.UNACKNOWLEDGED, True)

    def _unalias(self, alias: int, topic: bytes) -> bytes:
        if alias > self.alias_limit:
            raise ProtocolError(f"topic alias {alias}, at most {self.alias_limit}", Reason.TOPIC_ALIAS)
        if topic:
            self._aliases[alias] = topic
            return topic
        try:
            return self._aliases[alias]
        except KeyError:
            raise ProtocolError(f"topic alias {alias} means nothing yet", Reason.PROTOCOL_ERROR) from None

    def _classify(self, topic: bytes) -> str:
        """Return a telemetry topic of this node as text; another mark for all others.

        On the topics of commands a node may say what becomes of its own, and give none.
        """
        name = publishing.topic_name(topic)
        prefix = self._prefix
        options = self._hub.options
        if name == prefix or name.startswith(prefix + "/"):
            found = name
        elif name == f"{options.commands_prefix}/{self._node}/state":
            found = _REPORT
        else:
            found = (
                _FORBIDDEN if name.startswith((f"{options.topic_prefix}/", f"{options.commands_prefix}/")) else _PASSED
            )
        if len(self._topics) >= TOPICS_KEPT:
            self._topics.clear()
        self._topics[topic] = found
        return found

    def _forbid(self, first: int, identifier: bytes) -> None:
        """Refuse a message on another node's topic; MQTT 3.1.1 has no way to say so (section 3.3.5)."""
        self._hub.counters.forbidden += 1
        if identifier:
            kind = publishing.PUBREC if first & publishing.EXACTLY_ONCE else publishing.PUBACK
            answer = publishing.negative(kind, identifier, Reason.NOT_AUTHORISED) if self._v5 else kind + identifier
            self._client.write(answer)

    def release(self, identifier: bytes) -> bool:
        """Take a PUBREL; return whether it is about a message that was taken here."""
        once = self._hub.exactly_once
        if not once.holds(self._key, identifier):
            return False
        once.release(self._key, identifier)
        return True

    # What the intake says

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Send the acknowledgements; a client that is gone sends its messages again."""
        self._client.write(b"".join(tokens))
        self.settled(len(tokens))

    def settled(self, count: int) -> None:
        """So many messages more are acknowledged."""
        self.in_flight = left = max(0, self.in_flight - count)
        if self._held and left <= self._hub.options.receive_maximum // 2:
            self._held = False
            self._client.pause(Pause.UNACKNOWLEDGED, False)
        if not left:
            self._client.on_settled()

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Tell the client of a payload that is no reading, if it speaks MQTT 5."""
        return publishing.negative(publishing.PUBACK, token[2:], Reason.PAYLOAD) if self._v5 else token

    def pause(self) -> None:
        """Have nobody read."""
        self._hub.pause(True)

    def resume(self) -> None:
        """Have everybody read."""
        self._hub.pause(False)
