"""AMQP 0-9-1 uplink: batches to a RabbitMQ exchange, with publisher confirms.

One connection, a channel for each lane: an error closes a channel (AMQP 0-9-1, section 1.1: soft errors), and the
other lane goes on. Messages are ``mandatory``, so one that no queue takes comes back instead of being dropped.
"""

import asyncio
import logging
import random
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.spec import Basic
from pydantic import Field, SecretStr

from iot_gateway import interfaces
from iot_gateway.backoff import Backoff
from iot_gateway.interfaces import Done, Envelope, Outcome, TakeCommand
from iot_gateway.uplinks.amqp_commands import AmqpCommands

logger = logging.getLogger(__name__)

PERSISTENT = 2


class AmqpTlsOptions(interfaces.Options):
    """How the broker proves who it is."""

    ca: Path
    """The authority of its certificate, PEM; read at every attempt to connect."""
    server_name: str = ""
    """The name or address that the certificate must be for; empty for ``host``."""


class AmqpOptions(interfaces.Options):
    """Settings of the uplink."""

    host: str
    port: int = Field(default=5672, ge=1, le=65535)
    tls: AmqpTlsOptions | None = None
    """Without it nothing is encrypted; with it nothing goes over an unencrypted connection, whatever happens."""
    vhost: str = "/"
    username: str
    password: SecretStr
    exchanges: dict[str, str] = Field(
        default_factory=lambda: {"telemetry": "iot.telemetry", "dead-letters": "iot.dead-letters"}
    )
    """The exchange of each lane."""
    commands_queue: str = Field(default="", max_length=255)
    """The queue that brings this gateway's commands; none if empty. It must be there: the relay declares nothing."""
    heartbeat: int = Field(default=30, ge=5, le=600)
    """Seconds; a dead link is noticed after two of them."""
    connect_timeout: float = Field(default=10, gt=0, le=120)


class AmqpSender(interfaces.Sender):
    """One lane: a channel in confirm mode."""

    def __init__(self, lane: str, exchange: str):
        self.ready = False
        self.on_change = lambda: None
        self.error: str | None = None
        self._lane = lane
        self._exchange = exchange
        self._channel: Channel | None = None
        self._tag = 0
        self._unconfirmed: OrderedDict[int, tuple[str, Done]] = OrderedDict()
        self._returned: set[str] = set()
        self._backoff = Backoff()

    def publish(self, envelope: Envelope, done: Done) -> None:
        """Publish; the outcome comes with the broker's confirm."""
        if self._channel is None or not self.ready:
            asyncio.get_running_loop().call_soon(done, Outcome.LOST)
            return
        self._tag += 1
        self._unconfirmed[self._tag] = (envelope.message_id, done)
        properties = pika.BasicProperties(
            content_type=envelope.content_type,
            content_encoding=envelope.content_encoding,
            headers=envelope.headers,
            delivery_mode=PERSISTENT,
            message_id=envelope.message_id,
            timestamp=envelope.timestamp,
        )
        self._channel.basic_publish(self._exchange, envelope.key, envelope.body, properties, mandatory=True)

    def open(self, connection: AsyncioConnection) -> None:
        """Open the lane's channel on a connection that is open."""
        if connection.is_open:
            connection.channel(on_open_callback=self._on_open)

    def _on_open(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        channel.add_on_close_callback(self._on_close)  # pyright: ignore[reportUnknownMemberType]
        channel.add_on_return_callback(self._on_return)  # pyright: ignore[reportUnknownMemberType]
        channel.confirm_delivery(self._on_confirm, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        self.ready = True
        self.error = None
        self.on_change()

    def _on_return(self, _channel: Channel, method: Any, properties: Any, _body: bytes) -> None:
        # The broker sends it back before it confirms it, on the same channel (RabbitMQ's confirms, "mandatory").
        self._returned.add(properties.message_id)
        self.error = f"{method.reply_text}: {self._exchange} {method.routing_key}"

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        acknowledged = isinstance(method, Basic.Ack)
        if method.multiple:
            while self._unconfirmed and next(iter(self._unconfirmed)) <= method.delivery_tag:
                self._settle(*self._unconfirmed.popitem(last=False)[1], acknowledged)
        elif method.delivery_tag in self._unconfirmed:
            self._settle(*self._unconfirmed.pop(method.delivery_tag), acknowledged)

    def _settle(self, message_id: str, done: Done, acknowledged: bool) -> None:
        if message_id in self._returned:
            self._returned.discard(message_id)
            done(Outcome.UNROUTABLE)
        elif acknowledged:
            self.error = None
            self._backoff.reset()
            done(Outcome.CONFIRMED)
        else:
            self.error = "refused by the broker"
            done(Outcome.REFUSED)

    def _on_close(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lose()
        connection = channel.connection
        if isinstance(connection, AsyncioConnection) and connection.is_open:
            self.error = str(reason)
            delay = self._backoff.next()
            logger.error("%s: the broker closed the channel, again in %.1f s: %s", self._lane, delay, reason)
            asyncio.get_running_loop().call_later(delay, self.open, connection)

    def lose(self) -> None:
        """The channel is gone: nothing that was not confirmed can be told from what was lost."""
        self._channel = None
        self.ready = False
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        self._returned.clear()
        for _, done in unconfirmed.values():
            done(Outcome.LOST)
        self.on_change()


class AmqpUplink(interfaces.Uplink):
    """A connection to RabbitMQ that comes back."""

    Options = AmqpOptions

    def __init__(self, options: AmqpOptions, gateway: str, lanes: Sequence[str]):
        self._options = options
        self._gateway = gateway
        self._lanes = {lane: AmqpSender(lane, options.exchanges[lane]) for lane in lanes}
        self.senders = dict(self._lanes)
        self._commands: AmqpCommands | None = None
        self._connected = False
        self._blocked = False
        self._connections = 0
        self._error: str | None = None

    def on_command(self, take: TakeCommand) -> None:
        """Consume the queue of commands, if there is one."""
        if self._options.commands_queue:
            self._commands = AmqpCommands(self._options.commands_queue, take)

    async def run(self) -> None:
        """Connect, serve, and connect again."""
        backoff = Backoff()
        while True:
            reason = await self._serve(backoff)
            delay = backoff.next()
            if str(reason) != self._error:
                logger.warning("the broker is out of reach, again in %.1f s: %s", delay, reason)
            self._error = str(reason)
            await asyncio.sleep(delay * random.uniform(0.8, 1.0))  # noqa: S311 - spreads the gateways' attempts

    async def _serve(self, backoff: Backoff) -> str:
        """Hold one connection until it breaks; return why it did."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        closed: asyncio.Future[str] = loop.create_future()

        def on_closed(_connection: Any, error: BaseException) -> None:
            if not closed.done():
                closed.set_result(_describe(error))
                if self._connected:
                    # Before anyone learns that the lanes are lost: they tell the reason, so it is not told here again.
                    self._error = closed.result()

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
                logger.info("connected to the broker at %s:%d", self._options.host, self._options.port)
                self._connected, self._error = True, None
                self._connections += 1
                backoff.reset()
                for sender in self._lanes.values():
                    sender.open(connection)
                if self._commands is not None:
                    self._commands.open(connection)
            return await closed
        finally:
            self._connected = self._blocked = False
            for sender in self._lanes.values():
                sender.lose()
            if self._commands is not None:
                self._commands.lose()
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
            credentials=pika.PlainCredentials(options.username, options.password.get_secret_value()),
            heartbeat=options.heartbeat,
            socket_timeout=options.connect_timeout,
            stack_timeout=options.connect_timeout,
            client_properties={"connection_name": f"iot-gateway {self._gateway}"},
            ssl_options=self._tls(options.tls) if options.tls else None,
        )

    def _tls(self, tls: AmqpTlsOptions) -> pika.SSLOptions:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return pika.SSLOptions(context, tls.server_name or self._options.host)

    def _on_blocked(self, _connection: Any, _frame: Any) -> None:
        self._blocked = True
        logger.warning("the broker is short of memory or disk and takes nothing")

    def _on_unblocked(self, _connection: Any, _frame: Any) -> None:
        self._blocked = False
        logger.info("the broker takes messages again")

    def status(self) -> dict[str, Any]:
        """Return ``connected``, ``error``, ``blocked``, ``connections`` (ever), and ``commands``: of their queue."""
        errors = [sender.error for sender in self._lanes.values() if sender.error]
        return {
            "connected": self._connected,
            "blocked": self._blocked,
            "connections": self._connections,
            "error": self._error or (errors[0] if errors else None),
            "commands": self._commands.status() if self._commands is not None else None,
        }


def _describe(error: BaseException) -> str:
    """Pika wraps what happened several times over and prints it as a repr: find what an operator can use."""
    inner: BaseException = error
    while True:
        attempts: Any = getattr(inner, "exceptions", None)
        inside: list[Any] = [*(attempts or ()), getattr(inner, "exception", None), *inner.args, inner.__cause__]
        causes = [cause for cause in inside if isinstance(cause, BaseException)]
        if not causes:
            break
        inner = causes[-1] if attempts else causes[0]
    return str(inner) or type(inner).__name__
