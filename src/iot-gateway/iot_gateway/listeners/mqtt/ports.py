"""The ports that nodes reach the listener at, and the certificates that are shown there."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from iot_gateway.backoff import Backoff
from iot_gateway.errors import ConfigError
from iot_gateway.listeners.mqtt import tls
from iot_gateway.listeners.mqtt.options import MqttOptions

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
"""Connections that may wait to be accepted: after a power cut all nodes come at once."""


class Ports:
    """Sockets that stay, and servers at them that are replaced whenever certificates change."""

    def __init__(self, options: MqttOptions, protocol: Callable[[], asyncio.Protocol]):
        """Make the ports; nothing is bound yet.

        Args:
            options: of the listener.
            protocol: makes what serves a connection.
        """
        self.error: str | None = None
        """Why new connections are shown a former certificate."""
        self._options = options
        self._protocol = protocol
        self._sockets: list[tuple[socket.socket, bool]] = []
        """Each with whether it is for TLS."""
        self._servers: list[asyncio.Server] = []
        self._changed = asyncio.Event()
        self._quiet = False

    async def open(self) -> None:
        """Bind the ports and accept connections.

        Raises:
            ConfigError: the certificates can't be used.
            OSError: a port is taken, or the system has not what it takes.
        """
        self._sockets = _bind(self._options)
        try:
            await self._serve()
        except (OSError, ConfigError):
            self._close_sockets()
            raise

    def follow(self, options: MqttOptions) -> None:
        """Have :meth:`run` read the certificates again, at the same ports."""
        self._options = options
        if options.tls is not None and self._servers:
            self._changed.set()

    async def run(self) -> None:
        """Show new connections other certificates each time these change, until cancelled.

        Those that can't be used are tried again, for they may be half written: until then the former ones are shown.
        """
        backoff = Backoff(longest=60.0)
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._serve()
            except (OSError, ConfigError) as error:
                delay = backoff.next()
                self.error = f"the former certificate stays: {error}"
                logger.error("MQTT can't use its new certificate, again in %.1f s: %s", delay, self.error)
                # Another change is not waited for any longer.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._changed.wait()
                self._changed.set()
            else:
                self.error = None
                backoff.reset()

    async def _serve(self) -> None:
        """Accept connections at the sockets, in place of the servers that do so now; connections stay.

        Raises:
            ConfigError: the certificates can't be used; the former servers stay.
            OSError: the system has not what it takes; the former servers stay.
        """
        context = tls.context(self._options.tls) if self._options.tls else None
        made: list[asyncio.Server] = []
        try:
            for listening, encrypted in self._sockets:
                made.append(await self._server(listening, context if encrypted else None))
        except OSError:
            _close(made)
            raise
        former, self._servers = self._servers, made
        _close(former)
        if self._quiet:
            _close(made)

    async def _server(self, listening: socket.socket, context: ssl.SSLContext | None) -> asyncio.Server:
        # A server closes its socket; the duplicate keeps what waits to be accepted.
        duplicate = listening.dup()
        try:
            made = await asyncio.get_running_loop().create_server(
                self._protocol,
                sock=duplicate,
                backlog=BACKLOG,
                ssl=context,
                ssl_handshake_timeout=self._options.connect_timeout if context else None,
            )
        except OSError:
            duplicate.close()
            raise
        logger.info("MQTT%s at %s:%d", " over TLS" if context else "", *listening.getsockname()[:2])
        return made

    def quiesce(self) -> None:
        """Let nobody in any more."""
        self._quiet = True
        _close(self._servers)

    def close(self) -> None:
        """Give the ports back."""
        self.quiesce()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening, _ in self._sockets:
            listening.close()
        self._sockets = []


def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        server.close()


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
