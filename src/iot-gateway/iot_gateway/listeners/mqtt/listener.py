"""The MQTT listener: its sockets, its clients, its link to the site's broker."""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.errors import ConfigError
from iot_gateway.listeners.mqtt import tls
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.connection import NodeConnection
from iot_gateway.listeners.mqtt.courier import MqttCourier
from iot_gateway.listeners.mqtt.hub import Hub
from iot_gateway.listeners.mqtt.ledger import Ledger
from iot_gateway.listeners.mqtt.options import MqttOptions
from iot_gateway.listeners.mqtt.site import SiteLink

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
"""Connections that may wait to be accepted: after a power cut all nodes come at once."""
CHECK_SECONDS: Final = 1.0
_SPARE_FILES: Final = 200


class MqttListener(interfaces.Listener):
    """Terminates MQTT 3.1.1 and 5 for the nodes, in front of the site's broker."""

    Options = MqttOptions

    def __init__(self, options: MqttOptions, core: interfaces.Core):
        self.options = options
        self._hub = Hub(options, core.intake, core.nodes, Ledger(core.state / "mqtt" / "ledger"))
        self._site = SiteLink(self._hub)
        self._courier = MqttCourier(core.desk, self._site, options.commands_prefix)
        self._hub.commands = self._courier
        self._site.on_connected = self._courier.returned
        self._core = core
        self._error: str | None = None
        self._sockets: list[tuple[socket.socket, bool]] = []
        """Each with whether it is for TLS."""
        self._servers: list[asyncio.Server] = []
        self._context: ssl.SSLContext | None = None
        self._renewal: asyncio.Task[None] | None = None
        """Has new connections use other certificates; kept, since the loop would not."""

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
                tasks.create_task(self._site.run())
                tasks.create_task(self._check())
        finally:
            for end in ends:
                end()
            self._courier.close()
            await self._close()

    async def _until_open(self) -> None:
        backoff = Backoff(longest=5.0)
        while True:
            try:
                self._context = tls.context(self.options.tls) if self.options.tls else None
                self._hub.ledger.open()
                self._sockets = _bind(self.options)
                await self._serve()
            except (OSError, ConfigError) as error:
                self._close_sockets()
                self._error = str(error)
                delay = backoff.next()
                logger.error("MQTT can't listen, again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
            else:
                self._error = None
                return

    async def _serve(self) -> None:
        """Accept connections at the sockets, in place of the servers that do so now; connections stay."""
        loop = asyncio.get_running_loop()
        former, self._servers = self._servers, []
        for server in former:
            server.close()
        for listening, encrypted in self._sockets:
            # A server closes its socket; the duplicate keeps what waits to be accepted.
            self._servers.append(
                await loop.create_server(
                    lambda: NodeConnection(self._hub),
                    sock=listening.dup(),
                    backlog=BACKLOG,
                    ssl=self._context if encrypted else None,
                    ssl_handshake_timeout=self.options.connect_timeout if encrypted else None,
                )
            )
            logger.info("MQTT%s at %s:%d", " over TLS" if encrypted else "", *listening.getsockname()[:2])

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
        if options.tls is not None and self._servers:
            try:
                self._context = tls.context(options.tls)
            except ConfigError as error:
                logger.error("the former certificate stays: %s", error)
            else:
                self._renewal = asyncio.get_running_loop().create_task(self._serve())
        self._hub.max_files = _allow_files(options.max_clients)
        self.options = self._hub.options = options
        return True

    def quiesce(self) -> None:
        """Let nobody in and take no more payloads; acknowledgements of those taken still go out."""
        self._hub.quiet = True
        for server in self._servers:
            server.close()
        for connection in list(self._hub.connections):
            connection.quiesce()
        self._site.quiesce()

    async def _close(self) -> None:
        self._hub.quiet = True
        for server in self._servers:
            server.close()
        for connection in list(self._hub.connections):
            connection.end(Reason.SHUTTING_DOWN, at_once=True)
        self._close_sockets()
        self._hub.ledger.close()
        # The transports end in the loop's next rounds.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _close_sockets(self) -> None:
        for listening, _ in self._sockets:
            listening.close()
        self._sockets = []

    def status(self) -> dict[str, Any]:
        """Return ``connected`` (to the site's broker), ``error``, and the figures of the clients."""
        hub = self._hub
        counters = hub.counters
        return {
            "connected": self._site.connected,
            "error": self._error or self._site.error,
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


def _bind(options: MqttOptions) -> list[tuple[socket.socket, bool]]:
    ports = [(options.port, False)] if options.port else []
    if options.tls is not None:
        ports.append((options.tls.port, True))
    made: list[tuple[socket.socket, bool]] = []
    try:
        for address in dict.fromkeys(options.addresses):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            for port, encrypted in ports:
                listening = socket.create_server((address, port), family=family, backlog=BACKLOG)
                listening.setblocking(False)
                # A client without keep-alive that is gone is noticed all the same; accepted sockets inherit this.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                made.append((listening, encrypted))
    except OSError:
        for listening, _ in made:
            listening.close()
        raise
    return made


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
