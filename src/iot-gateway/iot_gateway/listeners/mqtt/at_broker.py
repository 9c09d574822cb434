"""A client at the site's broker: it is connected there when it has to be, and all that is no telemetry passes."""

import asyncio
from typing import Final, Protocol

from iot_gateway.listeners.mqtt import codes, subscribing
from iot_gateway.listeners.mqtt.backend import Backend
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connecting import Connack
from iot_gateway.listeners.mqtt.hub import Hub
from iot_gateway.listeners.mqtt.states import Pause
from iot_gateway.listeners.mqtt.wire import Reader

PING_SECONDS: Final = 6 * 3600.0


class Client(Protocol):
    """Who is at the broker."""

    @property
    def is_open(self) -> bool:
        """Whether it was let in, and has not begun to end."""
        ...

    def write(self, data: bytes) -> None:
        """Send to the client."""
        ...

    def pause(self, why: Pause, paused: bool) -> None:
        """Have the client not read, or read again."""
        ...

    def on_answer(self, answer: Connack) -> None:
        """The broker answered the client's CONNECT."""
        ...

    def on_broker_lost(self, reason: Reason | None) -> None:
        """The broker can't be reached or does not want the client; without a reason, it ended the session or is gone.

        What the broker knew of the client (its subscriptions, its will) can't be kept for it here; a client that
        connects again sets it up anew, or learns that its session is there.
        """
        ...


class AtBroker:
    """One client's place at the broker, and which of its subscriptions are for commands."""

    __slots__ = (
        "_backend",
        "_client",
        "_hub",
        "_introduction",
        "_loop",
        "_node",
        "_opening",
        "_paused",
        "_pinged",
        "_queued",
        "_subscribing",
        "_takes",
        "_v5",
    )

    def __init__(self, hub: Hub, client: Client, node: str, introduction: bytes, v5: bool):
        """Begin to connect the client to the broker.

        Args:
            hub: what connections share.
            client: who is to be there.
            node: whose client it is.
            introduction: the CONNECT for the broker.
            v5: whether it speaks MQTT 5.
        """
        self._hub = hub
        self._client = client
        self._node = node
        self._v5 = v5
        self._loop = asyncio.get_running_loop()
        self._pinged = self._loop.time()
        self._backend: Backend | None = None
        self._paused = False
        """Whether the client does not read; it may have begun that before there was a connection."""
        self._introduction = introduction
        """What introduces the client to the broker, as long as it may have to be."""
        self._queued: list[bytes] = []
        """What waits for the broker's answer to that."""
        # Nothing of their own for the thousands of clients that take no commands.
        self._takes: frozenset[str] = frozenset()
        """Topic filters that cover the node's commands."""
        self._subscribing: dict[bytes, list[str]] | None = None
        """Of each SUBSCRIBE under way the filters; empty in the place of those that do not."""
        self._opening: asyncio.Task[None] | None = self._loop.create_task(self._open())

    async def _open(self) -> None:
        hub = self._hub
        self._backend = backend = Backend(self, codes.V5 if self._v5 else codes.V311, self._introduction)
        hub.backends += 1
        try:
            async with asyncio.timeout(hub.options.connect_timeout):
                await self._loop.create_unix_connection(lambda: backend, str(hub.options.broker))
        except (OSError, TimeoutError):
            # The link to the broker reports the fault, once for all clients.
            self._opening = None
            self._drop()
            self._client.on_broker_lost(Reason.UNAVAILABLE)

    def settle(self, *, stays: bool) -> None:
        """The client is let in.

        Args:
            stays: whether the broker keeps something for it. Without that there is no connection until there is
                something to pass on: most nodes never have anything.
        """
        if stays:
            self._introduction = b""
        elif self._backend is not None:
            self._backend.leave()
            self._backend = None
            self._hub.backends -= 1

    def pass_on(self, data: bytes) -> None:
        """Send a packet to the broker; if the client is not there, it is connected again, and not read meanwhile."""
        self._hub.counters.passed += 1
        if self._backend is not None and not self._introduction:
            self._backend.write(data)
            return
        self._queued.append(data)
        if self._opening is None:
            self._client.pause(Pause.OPENING, True)
            self._opening = self._loop.create_task(self._open())

    def say_goodbye(self, data: bytes) -> None:
        """Pass a DISCONNECT on, if the broker knows of the client."""
        if self._backend is not None:
            self.pass_on(data)

    def check(self, now: float) -> None:
        """Have the broker know that the client is there."""
        if self._backend is not None and not self._introduction and now - self._pinged > PING_SECONDS:
            self._pinged = now
            self._backend.ping()

    def pause_reading(self) -> None:
        """The client does not read: the broker is to queue."""
        self._paused = True
        if self._backend is not None:
            self._backend.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        self._paused = False
        if self._backend is not None:
            self._backend.resume_reading()

    def close(self) -> None:
        """Have the client no longer at the broker; unless it said goodbye, the broker then publishes its will."""
        if self._opening is not None:
            self._opening.cancel()
        self._drop()

    def _drop(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            self._hub.backends -= 1
            backend.close()

    # Subscriptions to commands

    @property
    def _commands(self) -> str:
        """The topic of the node's commands."""
        return f"{self._hub.options.commands_prefix}/{self._node}"

    def subscribe(self, reader: Reader) -> None:
        """Note a SUBSCRIBE that is passed on."""
        identifier, filters = subscribing.filters(reader, self._v5, options=True)
        topic = self._commands
        found = [each if subscribing.matches(each, topic) else "" for each in filters]
        if any(found):
            self._subscribing = {**(self._subscribing or {}), identifier: found}

    def unsubscribe(self, reader: Reader) -> None:
        """Note an UNSUBSCRIBE that is passed on."""
        _, filters = subscribing.filters(reader, self._v5, options=False)
        topic = self._commands
        if any(subscribing.matches(each, topic) for each in filters):
            self._takes = self._takes.difference(filters)
            if not self._takes:
                self.take_no_commands()

    def take_commands(self) -> None:
        """The client takes commands from now on."""
        self._hub.commands.takes(self._node, self)

    def take_no_commands(self) -> None:
        """The client takes no more commands."""
        self._hub.commands.leaves(self._node, self)

    # What the broker says

    @property
    def watching(self) -> bool:
        """Whether the broker has been asked for a subscription to commands."""
        return bool(self._subscribing)

    def on_answer(self, answer: Connack) -> None:
        """The broker answered the CONNECT: the first, or another of a client that was let in long ago."""
        self._opening = None
        if not self._client.is_open:
            self._client.on_answer(answer)
        elif answer.code:
            self._client.on_broker_lost(Reason.UNAVAILABLE)
        else:
            self._introduction = b""
            queued, self._queued = self._queued, []
            if self._backend is not None:
                self._backend.write(b"".join(queued))
                if self._paused:
                    self._backend.pause_reading()
            self._client.pause(Pause.OPENING, False)

    def from_broker(self, data: bytes) -> None:
        """Pass packets on to the client."""
        self._client.write(data)

    def on_subscribed(self, answer: Reader) -> None:
        """The broker has answered a SUBSCRIBE, and the client has the answer."""
        identifier, granted = subscribing.granted(answer, self._v5)
        filters = (self._subscribing or {}).pop(identifier, [])
        takes = {each for each, is_granted in zip(filters, granted, strict=False) if each and is_granted}
        if takes and self._client.is_open:
            self._takes |= takes
            self.take_commands()

    def on_backend_full(self, full: bool) -> None:
        """The broker does not keep up, or does again."""
        self._client.pause(Pause.BACKEND, full)

    def on_backend_lost(self) -> None:
        """The broker ended the session, or is gone."""
        self._drop()
        self._client.on_broker_lost(None)
