"""The MQTT link to the gateway: QoS 1, at most so many packs unacknowledged, back again after every break.

paho-mqtt runs the connection in a thread of its own, reconnects with growing delays, and sends again what was not
acknowledged. Its callbacks only put what happened into a queue; one thread, the caller's, publishes and reads it.
"""

import logging
import queue
import sys
import time
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iot_node import tls
from iot_node.config import Credentials, Gateway
from iot_node.errors import LinkError

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT: Final = 20
"""Unacknowledged packs: what mosquitto takes at once by default (MQTT 5, Receive Maximum)."""
_KEEPALIVE_S = 30
_WAKE: Final = 0
"""In the place of a message identifier, which is never 0 (MQTT 5, section 2.2.1)."""
_FIRST_DELAY_S, _LAST_DELAY_S = 1, 30


class Outcome(NamedTuple):
    """What became of a pack."""

    token: int
    """As given to :meth:`Link.publish`."""
    refusal: str | None
    """Why the gateway refused it, or None: the gateway has it."""
    topic: str
    """Where it was published."""


class Link:
    """A connection that keeps itself up between entering and leaving the context."""

    def __init__(self, gateway: Gateway, credentials: Credentials, client_id: str, topic: str, commands: str = ""):
        """Prepare the link.

        Args:
            gateway: where it goes.
            credentials: of the node.
            client_id: of the connection.
            topic: where packs are published.
            commands: topic that is subscribed to; none if empty.
        """
        self._commands = commands
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._gateway = gateway
        self._topic = topic
        self._limit = MAX_IN_FLIGHT
        self._tokens: dict[int, tuple[int, str]] = {}
        self._acknowledged: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
        self.connected = False
        self.problem = "not connected yet"
        """Why the link is down, or was last."""
        # MQTT 5 and not 3.1.1, in which a broker has no way to say that it refuses a publication.
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.username_pw_set(credentials.username, credentials.password)
        if gateway.tls is not None:
            self._client.tls_set_context(gateway.tls.context())  # pyright: ignore[reportUnknownMemberType]
        self._client.reconnect_delay_set(_FIRST_DELAY_S, _LAST_DELAY_S)
        self._client.max_inflight_messages_set(MAX_IN_FLIGHT)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Begin to connect; the link need not be up when this returns."""
        self._client.connect_async(self._gateway.host, self._gateway.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect; nothing is awaited."""
        self.connected = False
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def where(self) -> str:
        """The gateway's address, for messages."""
        return f"{self._gateway.host}:{self._gateway.port}"

    @property
    def in_flight(self) -> int:
        """Packs published whose outcome was not taken yet."""
        return len(self._tokens)

    @property
    def room(self) -> int:
        """Packs that may be published now: none while the link is down."""
        return max(0, self._limit - len(self._tokens)) if self.connected else 0

    def publish(self, token: int, payload: bytes, topic: str = "") -> None:
        """Send a pack, or something else on a topic of its own; its outcome comes under ``token``.

        It is sent again after every break of the connection until the gateway has said what became of it. Publish
        only where there is room: what is published while paho still connects, it may send out of order.

        Raises:
            LinkError: the client can't take it.
        """
        topic = topic or self._topic
        info = self._client.publish(topic, payload, qos=1)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise LinkError(f"can't publish to {self.where}: {mqtt.error_string(info.rc)}")
        # The acknowledgement may be in the queue already; this thread reads it only later.
        self._tokens[info.mid] = (token, topic)

    def messages(self) -> list[bytes]:
        """Return the commands that have come; their coming ends :meth:`outcomes`' wait."""
        found: list[bytes] = []
        while not self._messages.empty():
            found.append(self._messages.get())
        return found

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Wait up to ``timeout`` seconds for an outcome, and return all that are there.

        The wait also ends, with none, when the link comes up or a command comes.
        """
        found: list[Outcome] = []
        deadline = time.monotonic() + timeout
        while True:
            try:
                left = 0.0 if found else max(0.0, deadline - time.monotonic())
                mid, refusal = self._acknowledged.get(timeout=left) if left else self._acknowledged.get_nowait()
            except queue.Empty:
                return found
            if mid == _WAKE:
                return found
            published = self._tokens.pop(mid, None)
            if published is not None:
                found.append(Outcome(published[0], refusal, published[1]))

    # Callbacks, in paho's thread

    def _on_connect(
        self, client: mqtt.Client, __: Any, ___: mqtt.ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._down(f"{self.where} refuses the connection: {reason}")
            return
        self._limit = min(MAX_IN_FLIGHT, getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT))
        self.connected = True
        self.problem = ""
        if self._commands:
            client.subscribe(self._commands, qos=1)
        self._acknowledged.put((_WAKE, None))
        logger.info("connected to %s", self.where)

    def _on_connect_fail(self, _: mqtt.Client, __: Any) -> None:
        # Paho calls this while it handles what went wrong, and says nothing of it.
        self._down(f"{self.where} can't be reached{tls.describe(sys.exception())}")

    def _on_disconnect(
        self,
        _: mqtt.Client,
        __: Any,
        ___: mqtt.DisconnectFlags,
        reason: ReasonCode,
        ____: Properties | None,
    ) -> None:
        # After a refused connection the broker closes it: the refusal is what the operator must know.
        if self.connected:
            self._down(f"{self.where} closed the connection: {reason}")

    def _on_publish(self, _: mqtt.Client, __: Any, mid: int, reason: ReasonCode, ___: Properties | None) -> None:
        self._acknowledged.put((mid, str(reason) if reason.is_failure else None))

    def _on_subscribe(
        self, _: mqtt.Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            logger.error("%s gives no commands on %s: %s", self.where, self._commands, reasons[0])

    def _on_message(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        self._messages.put(bytes(message.payload))
        self._acknowledged.put((_WAKE, None))

    def _down(self, problem: str) -> None:
        # An outage is one line, not one for every attempt.
        if self.connected or problem != self.problem:
            logger.warning("%s; trying again", problem)
        self.connected = False
        self.problem = problem
