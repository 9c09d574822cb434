"""A connection to RabbitMQ that comes back: AMQP 0-9-1, with or without TLS.

The uplink has one, and so has the listener of nodes that speak AMQP. What goes over it is not known here: each user of
the connection opens a channel of its own, so that an error, which closes a channel (AMQP 0-9-1, section 1.1: soft
errors), is nobody else's.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import pika
from msgspec import Meta
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import AMQPError

from iot_gateway import amqp_properties
from iot_gateway.backoff import Backoff
from iot_gateway.interfaces import Options
from iot_gateway.shapes import Secret

logger = logging.getLogger(__name__)

amqp_properties.install()

PERSISTENT = 2
"""The delivery mode of a message that survives the broker's restart."""


class AmqpTlsOptions(Options, frozen=True, kw_only=True):
    """How the broker proves who it is."""

    ca: Path
    """The authority of its certificate, PEM; read at every attempt to connect."""
    server_name: str = ""
    """The name or address that the certificate must be for; empty for ``host``."""


class AmqpConnectionOptions(Options, frozen=True, kw_only=True):
    """Where the broker is, and who connects."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 5672
    tls: AmqpTlsOptions | None = None
    """Without it nothing is encrypted; with it nothing goes over an unencrypted connection, whatever happens."""
    vhost: str = "/"
    username: str
    password: Secret
    heartbeat: Annotated[int, Meta(ge=5, le=600)] = 30
    """Seconds; a dead link is noticed after two of them."""
    connect_timeout: Annotated[float, Meta(gt=0, le=120)] = 10


class ChannelUser(Protocol):
    """Something that has a channel on the connection."""

    def open(self, connection: AsyncioConnection) -> None:
        """Open the channel on a connection that is open."""
        ...

    def lose(self) -> None:
        """The connection is gone, and the channel with it, if there was one."""
        ...


class AmqpConnection:
    """One connection, made again whenever it breaks."""

    def __init__(self, options: AmqpConnectionOptions, name: str, users: Sequence[ChannelUser]):
        """Make it; nothing is opened yet.

        Args:
            options: where to, and as whom.
            name: that the broker lists it under.
            users: of it, in the order in which their channels are opened.
        """
        self.connected = False
        self.blocked = False
        """RabbitMQ is short of memory or disk and takes nothing."""
        self.connections = 0
        """Made since the start."""
        self.error: str | None = None
        self._options = options
        self._name = name
        self._users = users

    async def run(self) -> None:
        """Connect, serve, and connect again, until cancelled."""
        backoff = Backoff()
        while True:
            reason = await self._serve(backoff)
            delay = backoff.next()
            if reason != self.error:
                logger.warning("the broker is out of reach, again in %.1f s: %s", delay, reason)
            self.error = reason
            await asyncio.sleep(delay * random.uniform(0.8, 1.0))  # noqa: S311 - spreads the gateways' attempts

    async def _serve(self, backoff: Backoff) -> str:
        """Hold one connection until it breaks; return why it did."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[str] = loop.create_future()

        def on_closed(_connection: Any, error: BaseException) -> None:
            if not closed.done():
                closed.set_result(describe(error))
                if self.connected:
                    # Before anyone learns that the channels are lost: they tell the reason, so it is not told again.
                    self.error = closed.result()

        try:
            parameters = self._parameters()
        except OSError as error:  # of which ssl.SSLError is one
            return f"TLS with {self._options.tls.ca if self._options.tls else 'no authority'}: {error}"
        connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda _: None if opened.done() else opened.set_result(None),
            on_open_error_callback=on_closed,
            on_close_callback=on_closed,
        )
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)
        try:
            await asyncio.wait((opened, closed), return_when=asyncio.FIRST_COMPLETED)
            if not closed.done():
                logger.info("%s: connected to the broker at %s:%d", self._name, self._options.host, self._options.port)
                self.connected, self.error = True, None
                self.connections += 1
                backoff.reset()
                for user in self._users:
                    user.open(connection)
            return await closed
        finally:
            self.connected = self.blocked = False
            for user in self._users:
                user.lose()
            if not connection.is_closed and not connection.is_closing:
                try:
                    connection.close()
                    async with asyncio.timeout(2):
                        await asyncio.shield(closed)
                except (AMQPError, TimeoutError):
                    logger.debug("the connection was not closed in order")

    def _parameters(self) -> pika.ConnectionParameters:
        options = self._options
        return pika.ConnectionParameters(
            host=options.host,
            port=options.port,
            virtual_host=options.vhost,
            credentials=pika.PlainCredentials(options.username, options.password.text),
            heartbeat=options.heartbeat,
            socket_timeout=options.connect_timeout,
            stack_timeout=options.connect_timeout,
            client_properties={"connection_name": self._name},
            ssl_options=self._tls(options.tls) if options.tls else None,
        )

    def _tls(self, tls: AmqpTlsOptions) -> pika.SSLOptions:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return pika.SSLOptions(context, tls.server_name or self._options.host)

    def _on_blocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = True
        logger.warning("the broker is short of memory or disk and takes nothing")

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = False
        logger.info("the broker takes messages again")


def describe(error: BaseException) -> str:
    """Return what an operator can use: pika wraps what happened several times over and prints it as a repr."""
    inner: BaseException = error
    while True:
        attempts: Any = getattr(inner, "exceptions", None)
        inside: list[Any] = [*(attempts or ()), getattr(inner, "exception", None), *inner.args, inner.__cause__]
        causes = [cause for cause in inside if isinstance(cause, BaseException)]
        if not causes:
            break
        inner = causes[-1] if attempts else causes[0]
    return str(inner) or type(inner).__name__
