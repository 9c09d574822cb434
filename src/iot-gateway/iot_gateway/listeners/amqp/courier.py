"""Commands to nodes that take them from queues of their own at the broker.

A command is published only while its node's queue has a consumer, so that the desk can still cancel what waits; it is
persistent, and goes out of the queue by itself when it expires. Whether there is a consumer is asked, of the nodes that
commands wait for and of no others.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any, Final

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from iot_gateway.amqp_connection import PERSISTENT
from iot_gateway.amqp_publisher import AmqpPublisher
from iot_gateway.desk import Command, Courier, Desk, NotReachedError, State
from iot_gateway.interfaces import Outcome
from iot_gateway.listeners.amqp.options import AmqpListenerOptions
from iot_gateway.listeners.amqp.payload_queue import PROTOCOL
from iot_gateway.listeners.amqp.watch import QueueWatch
from iot_gateway.nodes import Nodes

LOOK_SECONDS: Final = 2.0
"""Between one look at a queue and the next, as long as there are not more queues than..."""
LOOKS_PER_SECOND: Final = 250
MISSING_SECONDS: Final = 30.0
"""Until a queue that was not there is looked for again: that costs the broker a channel, and a line in its log."""
ASKED_SECONDS: Final = 2 * 3600.0
"""For how long a node is looked at that nobody has asked about again; the desk asks at least once an hour."""
CONSUMED_SECONDS: Final = 120.0
"""The same for one that is there: when it is asked about again, it is looked at at once."""

_REASONS: Final = {
    Outcome.UNROUTABLE: "the broker has no queue for it",
    Outcome.REFUSED: "the broker refuses it",
    Outcome.LOST: "the connection to the broker broke",
}


@dataclass(slots=True)
class _Watched:
    """A node that was asked about."""

    asked: float
    """When that was last, on the monotonic clock."""
    due: float = 0.0
    """When its queue is to be looked at (again)."""
    consumed: bool = False


class AmqpCourier(Courier):
    """Carries commands to the nodes whose queues are consumed."""

    protocol = PROTOCOL

    def __init__(self, options: AmqpListenerOptions, nodes: Nodes, desk: Desk):
        self.queued: int | None = None
        """Messages of nodes that wait at the broker; None if that is not known."""
        self._options = options
        self._nodes = nodes
        self._desk = desk
        self._publisher = AmqpPublisher("commands to nodes", options.commands_exchange)
        self._publisher.on_change = self._link_changed
        self._watch = QueueWatch()
        self._watched: dict[str, _Watched] = {}
        self._wake = asyncio.Event()
        self._blocked = False
        """RabbitMQ reads nothing: what is sent all the same lies in memory, and reaches its node after its time."""

    def open(self, connection: AsyncioConnection) -> None:
        """Use a connection that is open."""
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        self._publisher.open(connection)
        self._watch.open(connection)

    def lose(self) -> None:
        """The connection is gone."""
        self._blocked = False
        self._publisher.lose()
        self._watch.lose()

    def _on_blocked(self, _connection: Any, _frame: Any) -> None:
        self._blocked = True
        self.queued = None

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self._blocked = False
        self._link_changed()

    @property
    def error(self) -> str | None:
        """What is wrong with the publishing of commands."""
        return self._publisher.error

    def _link_changed(self) -> None:
        # Nodes that are there are noticed anew, so that the desk hears of them once they can be reached again.
        for watched in self._watched.values():
            watched.consumed, watched.due = False, 0.0
        self._wake.set()

    def reaches(self, node: str) -> bool:
        """Tell whether the node's queue was seen to have a consumer; if not, it is looked at from now on."""
        known = self._nodes.lookup(node)
        if known is None or not known.may_use(PROTOCOL):
            return False
        now = time.monotonic()
        watched = self._watched.get(node)
        if watched is None:
            watched = self._watched[node] = _Watched(now)
            self._wake.set()
        watched.asked = now
        return watched.consumed and self._publisher.ready and not self._blocked

    async def carry(self, command: Command) -> State:
        """Put a command into the node's queue, for as long as it is worth delivering."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        left = max(1, int((command.expires - time.time()) * 1000))
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=PERSISTENT,
            message_id=command.id,
            expiration=str(left),
        )
        self._publisher.send(
            f"{self._options.key}.{command.node}",
            command.for_node(),
            properties,
            lambda became: None if outcome.done() else outcome.set_result(became),
        )
        became = await outcome
        if became is not Outcome.CONFIRMED:
            raise NotReachedError(_REASONS[became])
        return State.SENT

    async def look(self) -> None:
        """Look at the queues until cancelled."""
        while True:
            self._wake.clear()
            own = await self._watch.look(self._options.queue)
            self.queued = own.messages if own else None
            for node, watched in list(self._watched.items()):
                if watched.due <= time.monotonic():
                    await self._look_at(node, watched)
            # Not wait_for: in Python 3.11 it can swallow a cancellation.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _look_at(self, node: str, watched: _Watched) -> None:
        if time.monotonic() - watched.asked > (CONSUMED_SECONDS if watched.consumed else ASKED_SECONDS):
            del self._watched[node]
            return
        state = await self._watch.look(f"{self._options.commands_queue_prefix}{node}")
        missing = state is None and self._watch.connected
        pause = MISSING_SECONDS if missing else max(LOOK_SECONDS, len(self._watched) / LOOKS_PER_SECOND)
        watched.due = time.monotonic() + pause
        arrived = state is not None and state.consumers > 0 and not watched.consumed
        watched.consumed = state is not None and state.consumers > 0
        if arrived:
            self._desk.arrived(node)
