"""The MQTT listener: its sockets, its clients, its link to the site's broker."""

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable
from typing import Any, Final

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.desk.reports import Reports
from iot_gateway.errors import ConfigError
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connection import NodeConnection
from iot_gateway.listeners.mqtt.courier import MqttCourier
from iot_gateway.listeners.mqtt.hub import Hub
from iot_gateway.listeners.mqtt.ledger import Ledger
from iot_gateway.listeners.mqtt.options import MqttOptions
from iot_gateway.listeners.mqtt.ports import Ports
from iot_gateway.listeners.mqtt.site import SiteLink

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 1.0
_SPARE_FILES: Final = 200


class MqttListener(interfaces.Listener):
    """Terminates MQTT 3.1.1 and 5 for the nodes, in front of the site's broker."""

    Options = MqttOptions

    def __init__(self, options: MqttOptions, core: interfaces.Core):
        self.options = options
        self._hub = Hub(options, core.intake, Reports(core.desk), core.nodes, Ledger(core.state / "mqtt" / "ledger"))
        self._site = SiteLink(self._hub)
        self._courier = MqttCourier(core.desk, self._site, options.commands_prefix)
        self._hub.commands = self._courier
        self._site.on_connected = self._courier.returned
        self._core = core
        self._error: str | None = None
        self._ports = Ports(options, lambda: NodeConnection(self._hub))

    async def run(self) -> None:
        """Listen until cancelled."""
        ends: list[Callable[[], None]] = []
        try:
            self._hub.max_files = _allow_files(self.options.max_clients)
            await self._until_open()
            ends.append(self._core.nodes.on_change(self._end_connections))
            ends.append(self._core.desk.attach(self._courier))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hub.ledger.run())
                tasks.create_task(self._ports.run())
                tasks.create_task(self._site.run())
                tasks.create_task(self._check())
        finally:
            for end in ends:
                end()
            self._hub.reports.close()
            await self._close()

    async def _until_open(self) -> None:
        backoff = Backoff(longest=5.0)
        while True:
            try:
                self._hub.ledger.open()
                await self._ports.open()
            except (OSError, ConfigError) as error:
                self._error = str(error)
                delay = backoff.next()
                logger.error("MQTT can't listen, again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
            else:
                self._error = None
                return

    async def _check(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = loop.time()
            for connection in list(self._hub.connections):
                connection.check(now)

    def _end_connections(self, names: set[str]) -> None:
        """End the connections of nodes that are no longer what they were when they were let in."""
        for connection in list(self._hub.connections):
            if connection.node in names:
                connection.end(Reason.ADMINISTRATIVE)

    def configure(self, options: MqttOptions) -> bool:
        """Follow new bounds and certificates; other addresses, ports or topics need another listener."""
        fixed = ("addresses", "port", "broker", "broker_user", "topic_prefix", "commands_prefix")
        if any(getattr(options, name) != getattr(self.options, name) for name in fixed):
            return False
        if (options.tls.port if options.tls else None) != (self.options.tls.port if self.options.tls else None):
            return False
        self._ports.follow(options)
        self._hub.max_files = _allow_files(options.max_clients)
        self.options = self._hub.options = options
        return True

    def quiesce(self) -> None:
        """Let nobody in and take no more payloads; acknowledgements of those taken still go out."""
        self._hub.quiet = True
        self._ports.quiesce()
        for connection in list(self._hub.connections):
            connection.quiesce()
        self._site.quiesce()

    async def _close(self) -> None:
        self._hub.quiet = True
        for connection in list(self._hub.connections):
            connection.end(Reason.SHUTTING_DOWN, at_once=True)
        self._ports.close()
        self._hub.ledger.close()
        # The transports end in the loop's next rounds.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (to the site's broker), ``error``, and the figures of the clients."""
        hub = self._hub
        counters = hub.counters
        return {
            "connected": self._site.connected,
            "error": self._error or self._ports.error or self._site.error,
            "clients": len(hub.sessions),
            "at_broker": hub.backends,
            "connections": counters.accepted,
            "refused": counters.refused,
            "broken": counters.broken,
            "timed_out": counters.timed_out,
            "forbidden": counters.forbidden,
            "reports": counters.reports,
            "passed": counters.passed,
            "last_values_left_out": hub.values.left_out,
        }


def _allow_files(clients: int) -> int:
    """Raise this process's bound of open files to what so many clients need; return how many they may use.

    Each has a connection of its own, and, if it does more than send telemetry, another one to the broker.
    """
    needed = 2 * clients + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        # Only root may go beyond the hard limit; the charm's unit allows enough.
        enough = hard == resource.RLIM_INFINITY or hard >= needed
        for wanted in [(needed, hard)] if enough else [(needed, needed), (hard, hard)]:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, wanted)
                break
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < clients + _SPARE_FILES:
            logger.warning("%d open files are allowed: too few for %d clients", soft, clients)
    return needed if soft == resource.RLIM_INFINITY else soft - _SPARE_FILES
