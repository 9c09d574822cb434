"""The MQTT listener against a broker of a few lines, and its codec against the specification's examples."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from iot_gateway.interfaces import Core, Source
from iot_gateway.listeners.mqtt import MqttListener, MqttOptions, codec
from iot_gateway.listeners.mqtt.listener import MqttConnection
from iot_gateway.nodes import Nodes


def core(intake: Any) -> Core:
    return Core(intake, Nodes(), Path("none"))


# Examples of non-normative section 2.2.3 of the specification.
@pytest.mark.parametrize(
    ("length", "encoded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2097151, "ffff7f"),
        (268435455, "ffffff7f"),
    ],
)
def test_remaining_length(length: int, encoded: str):
    assert codec.remaining_length(length).hex() == encoded


@pytest.mark.parametrize("length", [-1, 268435456])
def test_a_length_that_can_not_be(length: int):
    with pytest.raises(ValueError, match=str(length)):
        codec.remaining_length(length)


def publish_packet(topic: bytes, payload: bytes, identifier: int | None = 1, retained: bool = False) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + (identifier.to_bytes(2, "big") if identifier else b"") + payload
    return bytes((0x30 | (2 if identifier else 0) | retained,)) + codec.remaining_length(len(body)) + body


def test_connect_asks_for_a_session_that_stays():
    packet = codec.connect("id", "user", "pass", 30)
    assert packet == b"\x10\x1a\x00\x04MQTT\x04\xc0\x00\x1e\x00\x02id\x00\x04user\x00\x04pass"


def test_subscribe_and_puback():
    assert codec.subscribe(1, "t/#") == b"\x82\x08\x00\x01\x00\x03t/#\x01"
    assert codec.puback([b"\x00\x01", b"\x00\x02"]) == b"\x40\x02\x00\x01\x40\x02\x00\x02"
    assert codec.puback([]) == b""


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=300)), max_size=6), st.data())
def test_packets_are_found_however_the_stream_is_cut(messages: list[tuple[bytes, bytes]], data: st.DataObject):
    stream = b"".join(publish_packet(topic, payload, identifier=7) for topic, payload in messages)
    found: list[codec.Publish] = []
    rest = b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        piece, stream = rest + stream[:size], stream[size:]
        packets, taken = codec.split(piece)
        found += [codec.publish(first, piece, start, end) for first, start, end in packets]
        rest = piece[taken:]
    assert rest == b""
    assert [(publish.topic, publish.payload) for publish in found] == messages
    assert all(publish.identifier == b"\x00\x07" for publish in found)


@given(st.binary(max_size=64))
def test_any_bytes_are_packets_or_a_breach_of_the_protocol(data: bytes):
    try:
        packets, taken = codec.split(data)
        for first, start, end in packets:
            if first >> 4 == codec.PUBLISH:
                codec.publish(first, data, start, end)
    except codec.ProtocolError:
        return
    assert taken <= len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\x30\x01\x00", "without a topic"), (b"\x32\x03\x00\x01t", "too short"), (b"\x34\x05\x00\x01t\x00\x01", "QoS")],
)
def test_a_publish_that_is_none(data: bytes, reason: str):
    with pytest.raises(codec.ProtocolError, match=reason):
        codec.publish(data[0], data, 2, len(data))


def test_a_length_without_end():
    with pytest.raises(codec.ProtocolError, match="more than four"):
        codec.split(b"\x30\xff\xff\xff\xff\x01")


class NotingIntake:
    """An intake that notes what it is offered."""

    def __init__(self) -> None:
        self.offers: list[tuple[str, str, bytes, Any]] = []
        self.sources: list[Source] = []

    def offer(self, source: Source, node: str, topic: str, payload: bytes, token: Any) -> None:
        self.offers.append((node, topic, payload, token))
        self.sources.append(source)


class TinyBroker:
    """Accepts connections and lets the test say what is sent; notes what comes."""

    def __init__(self, connack: bytes = b"\x20\x02\x00\x00", suback: bytes = b"\x90\x03\x00\x01\x01") -> None:
        self.connack, self.suback = connack, suback
        self.received = b""
        self.writers: list[asyncio.StreamWriter] = []
        self.silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(4096):
                self.received += data
                if self.silent:
                    continue
                if data[0] == 0x10:
                    writer.write(self.connack)
                elif data[0] == 0x82:
                    writer.write(self.suback)
                elif data[0] == 0xC0:
                    writer.write(b"\xd0\x00")
        except ConnectionError:
            pass
        finally:
            writer.close()

    def send(self, data: bytes) -> None:
        self.writers[-1].write(data)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def run(
    test: Callable[[TinyBroker, MqttListener, NotingIntake], Awaitable[None]],
    broker: TinyBroker | None = None,
    **options: Any,
) -> None:
    async def inside() -> None:
        tiny = broker or TinyBroker()
        server = await asyncio.start_server(tiny.serve, "127.0.0.1", 0)
        intake = NotingIntake()
        port = server.sockets[0].getsockname()[1]
        listener = MqttListener(
            MqttOptions(port=port, username="relay", password=SecretStr("pw"), **options), core(intake)
        )
        task = asyncio.create_task(listener.run())
        try:
            await test(tiny, listener, intake)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            server.close()
            for writer in tiny.writers:
                writer.close()
            await server.wait_closed()
            await asyncio.sleep(0.01)

    asyncio.run(inside())


def test_messages_reach_the_intake_and_are_acknowledged_when_it_says_so():
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        broker.send(
            publish_packet(b"telemetry/node-1/x", b"[1]", 9) + publish_packet(b"telemetry/node-1/x", b"[2]", None)
        )
        await until(lambda: len(intake.offers) == 2)
        assert intake.offers[0] == ("node-1", "telemetry/node-1/x", b"[1]", b"\x00\x09")
        assert intake.offers[1][3] is None
        assert b"\x40\x02" not in broker.received
        intake.sources[0].acknowledge([b"\x00\x09"])
        await until(lambda: broker.received.endswith(b"\x40\x02\x00\x09"))
        assert listener.status() == {"connected": True, "error": None, "connections": 1}

    run(test)


@pytest.mark.parametrize(
    ("topic", "node"), [(b"telemetry", ""), (b"telemetry/", ""), (b"other/node-1", ""), (b"telemetry/n\xff", "n\ufffd")]
)
def test_topics_and_the_nodes_that_they_name(topic: bytes, node: str):
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        broker.send(publish_packet(topic, b"x"))
        await until(lambda: intake.offers)
        assert intake.offers[0][0] == node

    run(test)


@pytest.mark.parametrize(("kept", "taken"), [(b"\x20\x02\x01\x00", 0), (b"\x20\x02\x00\x00", 1)])
def test_a_retained_message_is_new_to_a_new_session_only(kept: bytes, taken: int):
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        broker.send(
            publish_packet(b"telemetry/a", b"old", 5, retained=True) + publish_packet(b"telemetry/a", b"new", 6)
        )
        await until(lambda: any(offer[2] == b"new" for offer in intake.offers))
        assert len(intake.offers) == 1 + taken
        if not taken:
            await until(lambda: broker.received.endswith(b"\x40\x02\x00\x05"))

    run(test, TinyBroker(connack=kept))


@pytest.mark.parametrize(
    ("broker", "reason"),
    [
        (TinyBroker(connack=b"\x20\x02\x00\x04"), "bad user name or password"),
        (TinyBroker(connack=b"\x20\x02\x00\x63"), "refused: 99"),
        (TinyBroker(connack=b"\x20\x01\x00"), "malformed CONNACK"),
        (TinyBroker(suback=b"\x90\x03\x00\x01\x80"), "refused the subscription to telemetry/#"),
        (TinyBroker(connack=b"\x20\x02\x00\x00\x10\x00"), "a packet of type 1"),
    ],
)
def test_a_broker_that_refuses_is_told_of(broker: TinyBroker, reason: str):
    async def test(_: TinyBroker, listener: MqttListener, __: NotingIntake) -> None:
        await until(lambda: listener.status()["error"])
        assert reason in listener.status()["error"]
        assert not listener.status()["connected"]

    run(test, broker)


def test_it_connects_again():
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        broker.writers[0].close()
        await until(lambda: listener.status()["connections"] == 2)
        broker.send(publish_packet(b"telemetry/a", b"x"))
        await until(lambda: intake.offers)

    run(test)


def test_a_broker_that_does_not_answer():
    silent = TinyBroker()
    silent.silent = True

    async def test(_: TinyBroker, listener: MqttListener, __: NotingIntake) -> None:
        await until(lambda: listener.status()["error"])
        assert "no answer from 127.0.0.1" in listener.status()["error"]

    run(test, silent, connect_timeout=0.05)


def test_no_broker_at_all():
    async def inside() -> None:
        listener = MqttListener(MqttOptions(port=1, username="relay", password=SecretStr("pw")), core(NotingIntake()))
        task = asyncio.create_task(listener.run())
        await until(lambda: listener.status()["error"])
        assert "Connect call failed" in listener.status()["error"]
        listener.quiesce()
        task.cancel()

    asyncio.run(inside())


def test_paused_it_reads_nothing_and_quiet_it_stays_so():
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        broker.send(publish_packet(b"telemetry/a", b"1"))
        await until(lambda: intake.offers)
        source = intake.sources[0]
        source.pause()
        broker.send(publish_packet(b"telemetry/a", b"2"))
        await asyncio.sleep(0.05)
        assert len(intake.offers) == 1
        source.resume()
        await until(lambda: len(intake.offers) == 2)
        listener.quiesce()
        source.resume()
        broker.send(publish_packet(b"telemetry/a", b"3"))
        await asyncio.sleep(0.05)
        assert len(intake.offers) == 2
        source.acknowledge([b"\x00\x01"])
        await until(lambda: broker.received.endswith(b"\x40\x02\x00\x01"))

    run(test)


def test_a_silent_connection_is_given_up_and_a_lively_one_is_pinged():
    async def test(broker: TinyBroker, listener: MqttListener, intake: NotingIntake) -> None:
        await until(lambda: listener.status()["connected"])
        connection = listener._connection
        assert isinstance(connection, MqttConnection)
        connection.ping()
        await until(lambda: broker.received.endswith(b"\xc0\x00"))
        connection._last_heard -= 61
        connection.ping()
        await until(lambda: "silent for" in (listener.status()["error"] or ""))

    run(test)
