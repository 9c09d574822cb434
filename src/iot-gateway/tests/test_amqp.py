"""The AMQP lane against a channel that a test plays; the connection itself is tested against a real broker."""

import asyncio
import errno
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.exceptions import AMQPConnectionError
from pika.spec import Basic

from iot_gateway import amqp_connection
from iot_gateway.interfaces import Envelope, Outcome
from iot_gateway.shapes import Secret
from iot_gateway.uplinks.amqp import AmqpOptions, AmqpSender, AmqpUplink


class FakeChannel:
    """Notes publications; the test answers in the broker's stead."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, bytes, pika.BasicProperties, bool]] = []
        self.connection = SimpleNamespace(is_open=False)

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.on_close = callback

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.on_return = callback

    def confirm_delivery(self, ack_nack_callback: Callable[..., None], callback: Callable[..., None]) -> None:
        self.answer = ack_nack_callback
        callback(None)

    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties, mandatory: bool
    ) -> None:
        self.published.append((exchange, routing_key, body, properties, mandatory))

    def ack(self, tag: int, multiple: bool = False) -> None:
        self.answer(SimpleNamespace(method=Basic.Ack(tag, multiple)))

    def nack(self, tag: int) -> None:
        self.answer(SimpleNamespace(method=Basic.Nack(tag)))

    def give_back(self, message_id: str) -> None:
        method = SimpleNamespace(reply_text="NO_ROUTE", routing_key="key")
        self.on_return(self, method, pika.BasicProperties(message_id=message_id), b"")


def envelope(name: str) -> Envelope:
    return Envelope(name.encode(), name, "site-1.gw", 12, "text/plain", "gzip", {"readings": 1})


@pytest.fixture
def lane() -> tuple[AmqpSender, FakeChannel, dict[str, Outcome], list[bool]]:
    sender, channel, outcomes = AmqpSender("telemetry", "iot.telemetry"), FakeChannel(), dict[str, Outcome]()
    changes: list[bool] = []
    sender.on_change = lambda: changes.append(sender.ready)
    sender._on_open(channel)  # pyright: ignore
    for name in ("a", "b", "c"):
        sender.publish(envelope(name), lambda outcome, name=name: outcomes.__setitem__(name, outcome))
    return sender, channel, outcomes, changes


def test_messages_are_persistent_mandatory_and_complete(lane: Any):
    _, channel, _, changes = lane
    exchange, key, body, properties, mandatory = channel.published[0]
    assert (exchange, key, body, mandatory) == ("iot.telemetry", "site-1.gw", b"a", True)
    assert (properties.delivery_mode, properties.message_id, properties.timestamp) == (2, "a", 12)
    assert (properties.content_type, properties.content_encoding) == ("text/plain", "gzip")
    assert changes == [True]


def test_confirms_come_singly_or_for_all_so_far(lane: Any):
    _, channel, outcomes, _ = lane
    channel.ack(2)
    assert outcomes == {"b": Outcome.CONFIRMED}
    channel.ack(3, multiple=True)
    assert outcomes == dict.fromkeys("abc", Outcome.CONFIRMED)
    channel.ack(3)


def test_a_message_that_comes_back_is_not_confirmed_by_its_confirm(lane: Any):
    sender, channel, outcomes, _ = lane
    channel.give_back("b")
    channel.ack(3, multiple=True)
    assert outcomes == {"a": Outcome.CONFIRMED, "b": Outcome.UNROUTABLE, "c": Outcome.CONFIRMED}
    channel.give_back("x")
    assert sender.error == "NO_ROUTE: iot.telemetry key"


def test_a_message_that_is_refused(lane: Any):
    sender, channel, outcomes, _ = lane
    channel.nack(1)
    assert outcomes == {"a": Outcome.REFUSED}
    assert sender.error == "refused by the broker"


def test_a_channel_that_closes_loses_what_was_not_confirmed(lane: Any):
    sender, channel, outcomes, changes = lane
    channel.ack(1)
    channel.on_close(FakeChannel(), Exception("another channel"))
    assert sender.ready
    channel.on_close(channel, Exception("404"))
    assert outcomes == {"a": Outcome.CONFIRMED, "b": Outcome.LOST, "c": Outcome.LOST}
    assert not sender.ready
    assert changes == [True, False]


def test_publishing_without_a_channel_is_a_loss():
    async def inside() -> None:
        outcomes: list[Outcome] = []
        AmqpSender("telemetry", "x").publish(envelope("a"), outcomes.append)
        assert outcomes == []
        await asyncio.sleep(0)
        assert outcomes == [Outcome.LOST]

    asyncio.run(inside())


def test_a_broker_out_of_reach_is_told_of_in_plain_words():
    async def inside() -> None:
        options = AmqpOptions(host="127.0.0.1", port=1, username="u", password=Secret("hidden"))
        uplink = AmqpUplink(options, "gw", ("telemetry", "dead-letters"))
        task = asyncio.create_task(uplink.run())
        async with asyncio.timeout(10):
            while uplink.status()["error"] is None:
                await asyncio.sleep(0.01)
        assert "refused" in uplink.status()["error"]
        assert "hidden" not in str(uplink.status())
        assert not uplink.status()["connected"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(inside())


def test_a_broker_that_goes_right_after_tcp_s_connection_is_told_of_and_tried_again(monkeypatch: pytest.MonkeyPatch):
    """pika raises it in a callback of the loop, and tells the relay only once the time to connect is up."""

    def gone(_: socket.socket) -> None:
        raise OSError(errno.ENOTCONN, "gone")

    async def inside() -> None:
        heard: list[bytes] = []

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if first := await reader.read(8):
                heard.append(first)
            writer.close()

        raised: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context.get("exception")))
        async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            options = AmqpOptions(host="127.0.0.1", port=port, username="u", password=Secret("p"), connect_timeout=0.2)
            uplink = AmqpUplink(options, "gw", ("telemetry", "dead-letters"))
            with monkeypatch.context() as patched:
                patched.setattr(socket.socket, "getpeername", gone, raising=False)
                task = asyncio.create_task(uplink.run())
                async with asyncio.timeout(10):
                    while uplink.status()["error"] is None:
                        await asyncio.sleep(0.01)
            assert [type(error) for error in raised] == [ValueError]
            assert "Timeout while setting up transport" in uplink.status()["error"]
            async with asyncio.timeout(10):
                while not heard:
                    await asyncio.sleep(0.01)
            assert heard[0].startswith(b"AMQP")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(inside())


def test_the_alarm_of_the_broker_is_shown():
    uplink = AmqpUplink(AmqpOptions(host="h", username="u", password=Secret("p")), "gw", ("telemetry",))
    uplink._connection._on_blocked(None, None)
    assert uplink.status()["blocked"]
    uplink._connection._on_unblocked(None, None)
    assert not uplink.status()["blocked"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (AMQPConnectionError(OSError(111, "refused")), "[Errno 111] refused"),
        (AMQPConnectionError("(403) ACCESS_REFUSED"), "(403) ACCESS_REFUSED"),
        (AMQPConnectionError(), "AMQPConnectionError"),
    ],
)
def test_what_pika_wraps_is_unwrapped(error: BaseException, text: str):
    assert text in amqp_connection.describe(error)
