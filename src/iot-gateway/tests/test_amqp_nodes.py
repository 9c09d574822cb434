"""The AMQP listener against channels that a test plays; a real broker is in tests/functional/gateway/test_amqp.py."""

import asyncio
import contextlib
import sqlite3
import struct
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cbor2
import pika
import pytest
from msgspec.structs import asdict, replace
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.frame import decode_frame
from pika.spec import Basic
from test_desk import Chain

from iot_gateway.desk import Book, CommandRequest, Desk, State
from iot_gateway.desk.reports import Reports
from iot_gateway.interfaces import Core
from iot_gateway.listeners.amqp import AmqpListener, AmqpListenerOptions, bodies, courier
from iot_gateway.nodes import Node, Nodes
from iot_gateway.payloads import decoder
from iot_gateway.shapes import Secret, ShapeError
from iot_telemetry import MalformedPayloadError, senml, senml_cbor

QUEUE = "iot.nodes.site-1.gw"
OPTIONS = AmqpListenerOptions(
    host="127.0.0.1",
    port=1,
    username="gateway",
    password=Secret("hidden"),
    queue=QUEUE,
    commands_queue_prefix="iot.node-commands.gateway.",
    prefetch=10,
)
PACK = b'[{"n":"kitchen/t","v":21.5}]'


class Channel:
    """A channel: what the relay does with it is noted, and the broker's side is the test's."""

    def __init__(self, connection: "Connection"):
        self.connection = connection
        self.is_open = True
        self.acked: list[tuple[int, bool]] = []
        self.published: list[tuple[str, str, bytes, pika.BasicProperties]] = []
        self.consumed: str | None = None
        self.tag = 0

    def add_on_close_callback(self, callback: Callable[..., None]) -> None:
        self.on_close = callback

    def add_on_cancel_callback(self, callback: Callable[..., None]) -> None:
        self.on_cancel = callback

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self.on_return = callback

    def basic_qos(self, prefetch_count: int, callback: Callable[..., None]) -> None:
        assert prefetch_count == 10
        callback(None)

    def basic_consume(self, queue: str, on_message: Any, callback: Callable[..., None]) -> None:
        self.consumed, self.on_message = queue, on_message
        callback(None)

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.acked.append((tag, multiple))

    def queue_declare(self, queue: str, passive: bool, callback: Callable[..., None]) -> None:
        assert passive
        broker = self.connection.broker
        broker.looks.append(queue)
        if queue in broker.consumers:
            method = SimpleNamespace(message_count=7, consumer_count=broker.consumers[queue])
            callback(SimpleNamespace(method=method))
        else:
            self.break_off("404")

    def confirm_delivery(self, answer: Callable[..., None], callback: Callable[..., None]) -> None:
        self.answer = answer
        callback(None)

    def basic_publish(
        self, exchange: str, key: str, body: bytes, properties: pika.BasicProperties, mandatory: bool
    ) -> None:
        assert mandatory
        self.published.append((exchange, key, body, properties))
        verdict = self.connection.broker.verdicts.pop(0) if self.connection.broker.verdicts else "ack"
        tag = len(self.published)
        if verdict == "return":
            self.on_return(self, SimpleNamespace(reply_text="NO_ROUTE", routing_key=key), properties, b"")
        if verdict == "close":
            self.break_off("403")
        else:
            self.answer(SimpleNamespace(method=Basic.Nack(tag) if verdict == "nack" else Basic.Ack(tag)))

    def deliver(self, words: str | bytes, body: bytes, *, header: bytes | None = None, **properties: Any) -> None:
        """Deliver a message; a node may have written its content header byte by byte."""
        self.tag += 1
        method = SimpleNamespace(delivery_tag=self.tag, routing_key=words)
        if header is None:
            header = b"".join(pika.BasicProperties(**properties).encode())
        # As pika reads it: its length includes what precedes the properties (AMQP 0-9-1, section 4.2.6.1).
        _, frame = decode_frame(struct.pack(">BHIHHQ", 2, 1, 12 + len(header), 60, 0, len(body)) + header + b"\xce")
        self.on_message(self, method, frame.properties, body)

    def break_off(self, reason: str) -> None:
        self.is_open = False
        self.on_close(self, Exception(reason))


class Connection(AsyncioConnection):
    """Opens channels at once."""

    def __init__(self, broker: "Broker"):
        self.broker = broker
        self.up = True
        self.channels: list[Channel] = []

    @property
    def is_open(self) -> bool:
        return self.up

    def add_on_connection_blocked_callback(self, callback: Callable[..., None]) -> None:
        self.on_blocked = callback

    def add_on_connection_unblocked_callback(self, callback: Callable[..., None]) -> None:
        self.on_unblocked = callback

    def channel(self, channel_number: int | None = None, on_open_callback: Any = None) -> Any:
        made = Channel(self)
        self.channels.append(made)
        on_open_callback(made)


class Broker:
    def __init__(self) -> None:
        self.consumers: dict[str, int] = {QUEUE: 1}
        self.looks: list[str] = []
        self.verdicts: list[str] = []


class Intake:
    """Keeps what it is offered; stores it when told."""

    refusal = None

    def __init__(self) -> None:
        self.offered: list[tuple[str, str, bytes, Any]] = []
        self.buried: list[tuple[str, bytes, str]] = []
        self.tokens: list[Any] = []
        self.source: Any = None

    def offer(self, source: Any, node: str, topic: str, payload: bytes, token: Any, decode: Any = None) -> bool:
        self.source = source
        self.offered.append((node, topic, payload, decode))
        self.tokens.append(token)
        source.pause()
        source.resume()
        return True

    def bury(self, source: Any, topic: str, payload: bytes, reason: str, token: Any) -> None:
        self.source = source
        self.buried.append((topic, payload, reason))
        self.tokens.append(source.refused(token, reason))

    def store(self, *indexes: int) -> None:
        self.source.acknowledge([self.tokens[index] for index in indexes])


class Site:
    """A listener at a broker that is played, its desk, and nodes."""

    def __init__(self, directory: Path):
        self.broker = Broker()
        self.intake = Intake()
        self.nodes = Nodes(
            {
                "kitchen": Node("kitchen", protocols=frozenset({"amqp"})),
                "office": Node("office", protocols=frozenset({"mqtt"})),
                "cellar": Node("cellar", enabled=False),
            }
        )
        self.desk = Desk(Book(directory / "commands.db"), Chain())
        self.listener = AmqpListener(OPTIONS, Core(self.intake, self.nodes, self.desk, directory))
        self.queue, self.courier = self.listener._queue, self.listener._courier
        self.connect()

    def connect(self) -> None:
        self.connection = Connection(self.broker)
        self.queue.open(self.connection)
        self.courier.open(self.connection)

    def lose(self) -> None:
        self.connection.up = False
        self.queue.lose()
        self.courier.lose()

    @property
    def consumer(self) -> Channel:
        return next(c for c in reversed(self.connection.channels) if hasattr(c, "on_cancel"))

    @property
    def publishers(self) -> list[Channel]:
        return [channel for channel in self.connection.channels if hasattr(channel, "answer")]

    async def state(self, identifier: str, state: State) -> None:
        async with asyncio.timeout(20):
            while [c.state for c in await self.desk.latest() if c.id == identifier] != [state]:
                await asyncio.sleep(0.005)

    async def send(self, identifier: str, **more: Any) -> None:
        await self.desk.submit(CommandRequest(id=identifier, node="kitchen", target="light", value=1.0, **more))


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncGenerator[Site]:
    """A site whose desk carries, and whose queues are looked at."""
    site = Site(directory)
    detach = site.desk.attach(site.courier)
    async with site.desk.closing():
        tasks = [asyncio.create_task(site.courier.look()), asyncio.create_task(site.desk.run())]
        try:
            yield site
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            site.queue.reports.close()
            detach()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(courier, "MISSING_SECONDS", 0.05)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def test_settings_name_the_beginning_of_routing_keys():
    assert OPTIONS.key == "site-1.gw"
    for queue in ("gw", "iot.nodes.site-1.g/w", "x" * 256):
        with pytest.raises(ShapeError):
            AmqpListenerOptions.read({**asdict(OPTIONS), "password": "p", "queue": queue})


async def test_a_payload_is_its_node_s_and_read_as_it_says(tmp_path: Path):
    site = Site(tmp_path)
    channel = site.consumer
    channel.deliver("site-1.gw.kitchen", PACK)
    channel.deliver("site-1.gw.kitchen.raw.t", b"21.5", content_type="text/plain", content_encoding="UTF-8")
    channel.deliver("site-1.gw.kitchen", cbor2.dumps([{0: "kitchen/t", 2: 1}]))
    channel.deliver("site-1.gw.kitchen", b"\x00Sw\xa1\x01p", type="amqp-1.0")
    assert [offered[:2] for offered in site.intake.offered] == [
        ("kitchen", "kitchen"),
        ("kitchen", "kitchen/raw/t"),
        ("kitchen", "kitchen"),
        ("kitchen", "kitchen"),
    ]
    assert [offered[3] for offered in site.intake.offered] == [None, None, senml_cbor.decode, None]
    assert site.intake.offered[3][2] == b"p"
    assert site.nodes.states()["kitchen"]["protocol"] == "amqp"
    status = site.listener.status()
    assert (status["connected"], status["error"], status["received"]) == (True, None, 4)


async def test_what_is_stored_is_acknowledged_together_where_nothing_is_left_before_it(tmp_path: Path):
    site = Site(tmp_path)
    channel = site.consumer
    for _ in range(6):
        channel.deliver("site-1.gw.kitchen", PACK)
    site.intake.store(0, 1)
    site.intake.store(4, 3)
    assert channel.acked == [(2, True), (5, False), (4, False)]
    site.intake.store(2)
    site.intake.store(5)
    assert channel.acked[3:] == [(3, True), (6, True)]


@pytest.mark.parametrize(
    ("words", "properties", "reason"),
    [
        ("site-1.gw", {}, "the routing key site-1.gw is of no node of this gateway"),
        ("site-1.other.kitchen", {}, "the routing key site-1.other.kitchen is of no node"),
        ("kitchen.site-1.gw.kitchen", {}, "is of no node of this gateway"),
        ("site-1.gw.nobody", {}, "no node is called 'nobody'"),
        ("site-1.gw.office", {}, "node office may not use amqp"),
        ("site-1.gw.cellar", {}, "node cellar is disabled"),
        ("site-1.gw.kitchen", {"content_encoding": "gzip"}, "content_encoding='gzip'"),
        ("site-1.gw.kitchen", {"type": "amqp-1.0"}, "AMQP 1.0: the body must be"),
        ("site-1.gw.kitchen.command-state", {}, "command"),
    ],
)
async def test_what_can_not_be_taken_is_a_dead_letter(
    tmp_path: Path, words: str, properties: dict[str, str], reason: str
):
    site = Site(tmp_path)
    site.consumer.deliver(words, PACK, **properties)
    ((topic, payload, said),) = site.intake.buried
    assert payload == PACK
    assert reason in said
    assert words.endswith(topic.replace("/", "."))
    site.intake.store(0)
    assert site.consumer.acked == [(1, True)]


def table(entries: bytes) -> bytes:
    return struct.pack(">I", len(entries)) + entries


def nested(depth: int) -> bytes:
    found = table(b"")
    for _ in range(depth):
        found = table(b"\x01aF" + found)
    return found


@pytest.mark.parametrize(
    "headers",
    [
        table(b"\x01xd" + struct.pack(">d", float("nan"))),
        table(b"\x01xf" + struct.pack(">f", float("inf"))),
        table(b"\x01xT" + struct.pack(">Q", 10**12)),
        table(b"\x01xT" + struct.pack(">Q", 2**64 - 1)),
        table(b"\x01x?"),
        table(b"\x01xI"),
        nested(3000),
    ],
    ids=["no number", "infinite", "far future", "no time", "no type", "cut", "deep"],
)
async def test_headers_that_pika_can_not_read_cost_no_more_than_the_message(tmp_path: Path, headers: bytes):
    site = Site(tmp_path)
    site.consumer.deliver("site-1.gw.kitchen", PACK, header=struct.pack(">H", 1 << 13) + headers)
    site.consumer.deliver("site-1.gw.kitchen", PACK, headers={"fine": 1})
    ((topic, payload, reason),) = site.intake.buried
    assert (topic, payload) == ("kitchen", PACK)
    assert reason.startswith("headers that can't be read: ")
    assert len(site.intake.offered) == 1


async def test_texts_that_are_no_utf_8_cost_no_more_than_the_message(tmp_path: Path):
    site = Site(tmp_path)
    latin = struct.pack(">HB", 1 << 15, 1) + b"\xfc"
    site.consumer.deliver("site-1.gw.kitchen", PACK, header=latin)
    site.consumer.deliver("site-1.gw.kitchen", PACK, header=struct.pack(">HB", 1 << 14, 1) + b"\xfc")
    site.consumer.deliver(b"site-1.gw.kitchen.t\xfcr", PACK)
    site.consumer.deliver(b"site-1.gw.k\xfcche", PACK)
    assert [offered[1] for offered in site.intake.offered] == ["kitchen", r"kitchen/t\xfcr"]
    assert [reason for _, _, reason in site.intake.buried] == [
        r"content_encoding='\\xfc': payloads must not be encoded",
        r"no node is called 'k\\xfcche'",
    ]
    site.intake.store(0, 1, 2, 3)
    assert site.consumer.acked == [(4, True)]


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"\x00Sw\xa1\x03abc", b"abc"),
        (b"\x00Sw\xa0\x03abc", b"abc"),
        (b"\x00Sw\xb1\x00\x00\x00\x03abc", b"abc"),
        (b"\x00\x80\0\0\0\0\0\0\0w\xb0\x00\x00\x00\x03abc", b"abc"),
        (b"\x00Sw\xa1\x01a\x00Sw\xa1\x01b", None),
        (b"\x00Sw\xa1\x04abc", None),
        (b"\x00Sw\xb1\x00", None),
        (b"\x00SwA", None),
        (b"\x00Sw", None),
        (b"\x00Sv\xa1\x03abc", None),
        (b"", None),
    ],
)
def test_a_body_of_amqp_1_0(body: bytes, payload: bytes | None):
    assert bodies.payload("binary", body) == body
    if payload is None:
        with pytest.raises(MalformedPayloadError, match=r"AMQP 1\.0"):
            bodies.payload("amqp-1.0", body)
    else:
        assert bodies.payload("amqp-1.0", body) == payload


def test_media_types_and_first_bytes():
    assert decoder(b"[]", "application/senml+json; charset=utf-8") is senml.decode
    assert decoder(b"{}", "Application/SenML+CBOR") is senml_cbor.decode
    assert decoder(b"\x81\xa0", "application/octet-stream") is senml_cbor.decode
    assert decoder(b"12", "text/plain") is None
    assert decoder(b"") is None


async def test_a_new_channel_waits_until_what_came_over_the_former_one_is_stored(tmp_path: Path):
    site = Site(tmp_path)
    former = site.consumer
    former.deliver("site-1.gw.kitchen", PACK)
    former.deliver("site-1.gw.kitchen", PACK)
    site.lose()
    assert not site.listener.status()["connected"]
    site.connect()
    assert site.consumer.consumed is None
    site.intake.store(0)
    assert site.consumer.consumed is None
    site.intake.store(1)
    assert site.consumer.consumed == QUEUE
    assert former.acked == []
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    site.intake.store(2)
    assert site.consumer.acked == [(1, True)]


async def test_after_the_quiet_nothing_is_taken_and_what_was_is_acknowledged(tmp_path: Path):
    site = Site(tmp_path)
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    site.listener.quiesce()
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    assert len(site.intake.offered) == 1
    site.intake.store(0)
    assert site.consumer.acked == [(1, True)]


async def test_a_consumer_that_the_broker_ends_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    site = Site(tmp_path)
    site.queue._backoff._delay = 0.01
    first = site.consumer
    first.close = lambda _code, text: first.break_off(text)  # type: ignore[attr-defined]
    first.on_cancel(None)
    assert site.listener.status()["error"] == "the broker cancelled the consumer"
    await until(lambda: site.consumer is not first)
    assert site.listener.status()["connected"]
    assert site.listener.status()["error"] is None


async def test_while_the_disk_does_not_keep_up_messages_are_not_read(tmp_path: Path):
    site = Site(tmp_path)
    channel = site.consumer
    channel.deliver("site-1.gw.kitchen", PACK)
    site.queue.pause()
    for number in range(3):
        channel.deliver("site-1.gw.kitchen", b"%d" % number)
    assert len(site.intake.offered) == 1
    site.intake.store(0)
    assert channel.acked == [(1, True)]
    site.queue.resume()
    assert [payload for _, _, payload, _ in site.intake.offered[1:]] == [b"0", b"1", b"2"]
    site.intake.store(1, 2, 3)
    assert channel.acked[1:] == [(4, True)]


async def test_what_is_not_read_when_the_channel_goes_is_read_once_when_it_comes_again(tmp_path: Path):
    site = Site(tmp_path)
    site.queue.pause()
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    site.lose()
    site.connect()
    assert site.consumer.consumed == QUEUE
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    site.queue.resume()
    assert len(site.intake.offered) == 1
    site.intake.store(0)
    assert site.consumer.acked == [(1, True)]


async def test_after_the_quiet_nothing_that_waited_is_read(tmp_path: Path):
    site = Site(tmp_path)
    site.queue.pause()
    site.consumer.deliver("site-1.gw.kitchen", PACK)
    site.listener.quiesce()
    site.queue.resume()
    assert site.intake.offered == []


async def test_a_channel_that_the_broker_closes_over_what_can_not_be_stored_waits_for_that(tmp_path: Path):
    """After half an hour (``consumer_timeout``): each further delivery would bring the messages to their limit."""
    site = Site(tmp_path)
    site.queue._backoff._delay = 0.01
    first = site.consumer
    for _ in range(2):
        first.deliver("site-1.gw.kitchen", PACK)
    first.break_off("delivery acknowledgement on channel 1 timed out")
    await until(lambda: site.consumer is not first)
    assert site.consumer.consumed is None
    assert site.listener.status()["error"] == "delivery acknowledgement on channel 1 timed out"
    site.intake.store(0, 1)
    assert site.consumer.consumed == QUEUE
    assert first.acked == site.consumer.acked == []
    assert site.listener.status()["error"] is None


async def test_a_command_goes_when_the_node_s_queue_has_a_consumer(tmp_path: Path):
    async with running(tmp_path) as site:
        theirs = "iot.node-commands.gateway.kitchen"
        site.broker.consumers[theirs] = 0
        await site.send("c-1", ttl=60)
        await until(lambda: site.broker.looks.count(theirs) > 2)
        assert site.publishers[-1].published == []
        assert site.listener.status()["queued"] == 7
        site.broker.consumers[theirs] = 1
        await site.state("c-1", State.SENT)
        ((exchange, key, body, properties),) = site.publishers[-1].published
        assert (exchange, key) == ("iot.node-commands", "site-1.gw.kitchen")
        assert b'"id":"c-1"' in body
        assert (properties.message_id, properties.delivery_mode) == ("c-1", 2)
        assert 50_000 < int(properties.expiration) <= 60_000
        site.consumer.deliver("site-1.gw.kitchen.command-state", b'{"id":"c-1","state":"applied"}')
        await site.state("c-1", State.APPLIED)
        await until(lambda: site.consumer.acked == [(1, True)])


async def test_nobody_else_s_queue_is_looked_at(tmp_path: Path):
    async with running(tmp_path) as site:
        assert not site.courier.reaches("office")
        assert not site.courier.reaches("nobody")
        await until(lambda: len(site.broker.looks) > 3)
        assert set(site.broker.looks) == {QUEUE}


async def test_a_queue_that_is_not_there_is_looked_for_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(courier, "MISSING_SECONDS", 60)
    async with running(tmp_path) as site:
        theirs = "iot.node-commands.gateway.kitchen"
        await site.send("c-1")
        await until(lambda: site.broker.looks.count(QUEUE) > 10)
        assert site.broker.looks.count(theirs) == 1
        # A connection that comes back is a reason to look again.
        site.broker.consumers[theirs] = 1
        site.lose()
        site.connect()
        await site.state("c-1", State.SENT)


@pytest.mark.parametrize("verdict", ["return", "nack", "close"])
async def test_a_command_that_did_not_get_into_the_queue_waits_on(tmp_path: Path, verdict: str):
    async with running(tmp_path) as site:
        site.courier._publisher._backoff._delay = 0.01
        site.broker.consumers["iot.node-commands.gateway.kitchen"] = 1
        site.broker.verdicts.append(verdict)
        await site.send("c-1")
        await until(lambda: not site.broker.verdicts)
        await site.state("c-1", State.SENT if verdict == "close" else State.QUEUED)
        if verdict == "close":
            # The channel came back, and with it the news that the node is there.
            assert len(site.publishers) == 2
        else:
            assert site.listener.status()["error"] is not None
            site.desk.arrived("kitchen")
            await site.state("c-1", State.SENT)


async def test_while_the_broker_takes_nothing_no_command_is_sent_into_its_silence(tmp_path: Path):
    """It would lie in memory with those of every further attempt, and reach its node after its time."""
    async with running(tmp_path) as site:
        site.broker.consumers["iot.node-commands.gateway.kitchen"] = 1
        site.courier.reaches("kitchen")
        await until(lambda: site.courier.reaches("kitchen"))
        site.connection.on_blocked(site.connection, None)
        assert site.listener.status()["queued"] is None
        await site.send("c-1")
        site.desk.arrived("kitchen")
        await until(lambda: site.broker.looks.count(QUEUE) > 10)
        assert site.publishers[-1].published == []
        site.connection.on_unblocked(site.connection, None)
        await site.state("c-1", State.SENT)
        site.consumer.deliver("site-1.gw.kitchen.command-state", b'{"id":"c-1","state":"applied"}')
        site.connection.on_blocked(site.connection, None)
        site.lose()
        site.connect()
        await site.send("c-2")
        await site.state("c-2", State.SENT)


async def test_nodes_that_nobody_asks_about_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(courier, "CONSUMED_SECONDS", 0.05)
    async with running(tmp_path) as site:
        site.broker.consumers["iot.node-commands.gateway.kitchen"] = 1
        assert not site.courier.reaches("kitchen")
        await until(lambda: site.courier._watched["kitchen"].consumed)
        await until(lambda: not site.courier._watched)
        assert not site.courier.reaches("kitchen")


async def test_without_a_broker_nothing_is_known(tmp_path: Path):
    async with running(tmp_path) as site:
        await until(lambda: site.listener.status()["queued"] == 7)
        site.lose()
        await until(lambda: site.listener.status()["queued"] is None)
        watch = site.courier._watch
        connection = Connection(site.broker)
        connection.channel = lambda channel_number=None, on_open_callback=None: None  # type: ignore[assignment]
        watch.open(connection)
        await until(lambda: watch._asked is not None and not watch._asked.done())
        watch.lose()
        await until(lambda: watch._asked is not None and watch._asked.done())


async def test_a_report_is_said_again_to_a_book_that_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("iot_gateway.desk.reports.RETRY_SECONDS", 0.01)
    book = Book(tmp_path / "commands.db")
    desk = Desk(book, Chain())
    async with desk.closing():
        await desk.submit(CommandRequest(id="c-1", node="kitchen", target="light"))
        write, faults, done = book.step, [sqlite3.OperationalError("full")] * 3, list[str]()

        def step(*arguments: Any) -> None:
            if faults:
                raise faults.pop()
            write(*arguments)

        monkeypatch.setattr(book, "step", step)
        reports = Reports(desk)
        reports.take("kitchen", b'{"id":"c-1","state":"applied"}', lambda: done.append("c-1"))
        await until(lambda: done == ["c-1"])
        assert not faults
        assert [command.state for command in await desk.latest()] == [State.APPLIED]


async def test_the_listener_says_why_there_is_no_broker(tmp_path: Path):
    site = Site(tmp_path)
    site.lose()
    task = asyncio.create_task(site.listener.run())
    await until(lambda: site.listener.status()["error"])
    status = site.listener.status()
    assert "refused" in status["error"]
    assert not status["connected"]
    assert site.desk.status()["couriers"] == ["amqp"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert site.desk.status()["couriers"] == []
    assert site.listener.configure(OPTIONS)
    assert not site.listener.configure(replace(OPTIONS, prefetch=20))
