"""The AMQP listener: nodes publish to RabbitMQ, not to the relay; the relay takes it from the gateway's queue there.

::

    node --publish, confirmed--> exchange iot.nodes --> queue iot.nodes.<site>.<gateway> --> relay
    node <--consume-- queue iot.node-commands.<user> <-- exchange iot.node-commands <--publish-- relay

Who a node is the broker has proven: it lets a node publish only under routing keys ``<site>.<gateway>.<node>`` and
below. So the connection is the relay's own, and nothing listens here. See docs/adr/0151.
"""

import asyncio
from typing import Any

from iot_gateway import interfaces
from iot_gateway.amqp_connection import AmqpConnection
from iot_gateway.listeners.amqp.courier import AmqpCourier
from iot_gateway.listeners.amqp.options import AmqpListenerOptions
from iot_gateway.listeners.amqp.payload_queue import PayloadQueue


class AmqpListener(interfaces.Listener):
    """Takes what nodes have published, and puts commands into their queues."""

    Options = AmqpListenerOptions

    def __init__(self, options: AmqpListenerOptions, core: interfaces.Core):
        self.options = options
        self._core = core
        self._queue = PayloadQueue(options, core)
        self._courier = AmqpCourier(options, core.nodes, core.desk)
        # While RabbitMQ is short of memory or disk, it reads nothing more from a connection that publishes, and so no
        # acknowledgement either: what is taken, which gives it room again, must not wait for that.
        self._connection = AmqpConnection(options, f"iot-gateway nodes of {options.key}", (self._queue,))
        self._commands = AmqpConnection(options, f"iot-gateway commands to nodes of {options.key}", (self._courier,))

    async def run(self) -> None:
        """Stay connected until cancelled."""
        detach = self._core.desk.attach(self._courier)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connection.run())
                tasks.create_task(self._commands.run())
                tasks.create_task(self._courier.look())
        finally:
            detach()
            self._queue.reports.close()

    def quiesce(self) -> None:
        """Take no more; what was taken is still acknowledged."""
        self._queue.quiet = True

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (and consuming), ``error``, ``blocked``, ``connections``, ``received``, ``queued``."""
        return {
            "connected": self._queue.consuming,
            "error": self._connection.error or self._queue.error or self._commands.error or self._courier.error,
            "blocked": self._commands.blocked,
            "connections": self._connection.connections,
            "received": self._queue.received,
            "queued": self._courier.queued,
        }
