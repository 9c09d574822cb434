"""The MQTT listener between raw clients and a broker of a few lines."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest
from listener_rig import until
from mqtt_rig import Rig, connect, publish, run, string
from msgspec.structs import replace

from iot_gateway.listeners.mqtt import at_broker, connection, site, wire
from iot_gateway.listeners.mqtt import properties as props
from iot_gateway.listeners.mqtt.tls import TlsOptions
from iot_gateway.nodes import Node, credentials

TOPIC = "telemetry/node-1"


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        (connect(), "20020000"),
        (connect(password="wrong"), "20020004"),
        (connect(username="nobody"), "20020004"),
        (connect(username=None, password=None), "20020004"),
        (connect(username="coap"), "20020005"),
        (connect(level=3, name="MQIsdp"), "20020001"),
        (connect(level=6), "20020001"),
        (connect(client_id="", clean=False), "20020002"),
        (connect(client_id=""), "20020000"),
        (connect(5, password="wrong"), "2003008600"),
        (connect(5, username="coap"), "2003008700"),
        (connect(5, properties=b"\x15" + string("SCRAM")), "2003008c00"),
    ],
)
def test_who_is_let_in(tmp_path: Path, packet: bytes, answer: str):
    async def test(rig: Rig) -> None:
        client = await rig.client()
        assert (await client.hello(packet)).hex() == answer
        if answer != "20020000":
            assert await client.closed() == b""
        status = rig.listener.status()
        assert (status["connections"], status["clients"]) == ((1, 1) if answer == "20020000" else (0, 0))

    run(tmp_path, test)


def test_the_broker_gets_the_name_and_no_password(tmp_path: Path):
    async def test(rig: Rig) -> None:
        will = string("telemetry/node-1/status") + string("gone")
        await rig.node(client_id="sensor", keepalive=60, will=will, clean=False)
        told = rig.broker.connect_of("sensor")
        assert b"secret" not in told
        assert told == wire.packet(
            0x10, b"\x00\x04MQTT\x04\x84\x00\x00" + string("node-1:sensor") + will + string("node-1")
        )

    run(tmp_path, test)


def test_mqtt_5_is_told_the_listeners_bounds(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.client()
        client.send(connect(5, client_id="", properties=b"\x11\x00\x00\x00\x0a"))
        answer = await client.packet()
        properties = wire.Reader(answer, 4, len(answer))
        found: dict[int, Any] = dict(props.read(properties))
        assert found[0x21] == struct.pack(">H", 7)
        assert found[0x27] == struct.pack(">I", 2**20)
        assert found[0x22] == b"\x00\x0a"
        assert found[0x12].startswith(b"\x00\x15auto-")
        assert 0x13 not in found
        assert b"\x11\x00\x00\x00\x0a" in rig.broker.connect_of("node-1:auto-")

    run(tmp_path, test, receive_maximum=7)


def test_telemetry_is_taken_and_acknowledged_only_when_it_is_stored(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        client = await rig.node()
        client.send(
            publish(TOPIC, b"one", 1), publish(TOPIC + "/x", b"two", 2), publish(TOPIC, b"three", qos=0), b"\xc0\x00"
        )
        assert await client.packet() == b"\xd0\x00"
        assert [offered[1:4] for offered in rig.intake.offered] == [
            ("node-1", TOPIC, b"one"),
            ("node-1", TOPIC + "/x", b"two"),
            ("node-1", TOPIC, b"three"),
        ]
        rig.intake.acknowledge()
        assert await client.packet() == b"\x40\x02\x00\x01"
        assert await client.packet() == b"\x40\x02\x00\x02"
        assert not [packet for packet in rig.broker.packets if packet[0] >> 4 == 3]

    run(tmp_path, test)


def test_what_is_no_telemetry_passes_both_ways(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        subscribe = wire.packet(0x82, b"\x00\x05" + string("command/node-1") + b"\x01")
        other = publish("site/light", b"on", 6)
        clear = publish(TOPIC, b"", 7, flags=1)
        client.send(subscribe, other, clear, b"\x40\x02\x00\x09")
        assert await client.packet() == wire.packet(0x90, b"\x00\x05\x01")
        await until(lambda: rig.broker.packets[1:] == [subscribe, other, clear, b"\x40\x02\x00\x09"])
        command = publish("command/node-1", b"open", 9)
        writer = rig.broker.writer_of("node-1:c")
        writer.write(command[:5])
        await asyncio.sleep(0.01)
        client.send(publish(TOPIC, b"reading", 1))
        assert await client.packet() == b"\x40\x02\x00\x01"
        writer.write(command[5:])
        assert await client.packet() == command
        assert rig.intake.payloads == [b"reading"]

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("level", "qos", "answer"),
    [(4, 1, "40020001"), (4, 2, "50020001"), (5, 1, "4003000187"), (5, 2, "5003000187")],
)
def test_another_nodes_topic_is_forbidden(tmp_path: Path, level: int, qos: int, answer: str):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=level)
        for topic in ("telemetry/node-2", "telemetry/node-10"):
            client.send(publish(topic, b"x", 1, qos=qos, v5=level == 5))
            assert (await client.packet()).hex() == answer
        client.send(publish("telemetry/node-2", b"x", qos=0, v5=level == 5))
        client.send(b"\xc0\x00")
        assert await client.packet() == b"\xd0\x00"
        assert rig.intake.offered == []
        assert rig.listener.status()["forbidden"] == 3

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("level", "qos", "answer"),
    [(4, 1, "40020001"), (5, 1, "4003000199"), (4, 2, "50020001"), (5, 2, "5003000199")],
)
def test_a_payload_that_is_no_reading_is_told_in_mqtt_5(tmp_path: Path, level: int, qos: int, answer: str):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=level)
        client.send(publish(TOPIC, b"bad", 1, qos=qos, v5=level == 5))
        assert (await client.packet()).hex() == answer

    run(tmp_path, test)


def test_exactly_once_over_a_lost_connection_and_a_restart(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.broker.present = True
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2))
        assert await client.packet() == b"\x50\x02\x00\x01"
        client.writer.close()
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2, flags=8))
        assert await client.packet() == b"\x50\x02\x00\x01"
        await rig.stop()
        rig.make()
        await rig.start()
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2, flags=8))
        assert await client.packet() == b"\x50\x02\x00\x01"
        assert rig.intake.payloads == [b"one"]
        client.send(b"\x62\x02\x00\x01")
        assert await client.packet() == b"\x70\x02\x00\x01"
        client.send(publish(TOPIC, b"two", 1, qos=2))
        assert await client.packet() == b"\x50\x02\x00\x01"
        assert rig.intake.payloads == [b"one", b"two"]
        client.send(b"\x62\x02\x00\x09")
        await until(lambda: b"\x62\x02\x00\x09" in rig.broker.packets)

    run(tmp_path, test)


def test_a_client_that_returns_before_its_message_is_stored_gets_the_answer_there(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        rig.broker.present = True
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2))
        await until(lambda: rig.intake.offered)
        client.writer.close()
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2, flags=8), b"\xc0\x00")
        assert await client.packet() == b"\xd0\x00"
        assert len(rig.intake.offered) == 1
        rig.intake.acknowledge()
        assert await client.packet() == b"\x50\x02\x00\x01"

    run(tmp_path, test)


@pytest.mark.parametrize(("clean", "present"), [(True, False), (False, False)])
def test_a_new_session_knows_no_former_message(tmp_path: Path, clean: bool, present: bool):
    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1, qos=2))
        await client.packet()
        client.writer.close()
        rig.broker.present = present
        client = await rig.node(clean=clean)
        client.send(publish(TOPIC, b"one", 1, qos=2))
        await client.packet()
        assert rig.intake.payloads == [b"one", b"one"]

    run(tmp_path, test)


@pytest.mark.parametrize("stored_first", [False, True])
def test_an_identifier_of_a_former_session_stands_for_no_message_of_the_new_one(tmp_path: Path, stored_first: bool):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        taken = rig.intake.offered
        client = await rig.node()
        client.send(publish(TOPIC, b"one", 1, qos=2))
        await until(lambda: rig.intake.payloads == [b"one"])
        client.writer.close()
        client = await rig.node()
        if stored_first:
            rig.intake.acknowledge()
        client.send(publish(TOPIC, b"two", 1, qos=2))
        await until(lambda: taken and taken[-1][3] == b"two")
        client.send(b"\xc0\x00")
        assert await client.packet() == b"\xd0\x00", "the second message is not stored yet"
        rig.intake.acknowledge()
        client.send(b"\xc0\x00")
        assert {await client.packet(), await client.packet()} == {b"\xd0\x00", b"\x50\x02\x00\x01"}
        client.send(b"\x62\x02\x00\x01")
        assert await client.packet() == b"\x70\x02\x00\x01"

    run(tmp_path, test)


@pytest.mark.parametrize("level", [4, 5])
def test_a_message_too_many_is_taken_when_it_comes_again(tmp_path: Path, level: int):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        rig.broker.present = True
        client = await rig.node(level=level, clean=False)
        client.send(*(publish(TOPIC, b"%d" % number, number, qos=2, v5=level == 5) for number in range(1, 4)))
        await client.closed()
        assert rig.intake.payloads == [b"1", b"2"]
        client = await rig.node(level=level, clean=False)
        rig.intake.acknowledge()
        assert await client.packet() == b"\x50\x02\x00\x01"
        assert await client.packet() == b"\x50\x02\x00\x02"
        client.send(b"\x62\x02\x00\x01")
        assert await client.packet() == b"\x70\x02\x00\x01"
        client.send(publish(TOPIC, b"3", 3, qos=2, v5=level == 5, flags=8))
        await until(lambda: rig.intake.payloads == [b"3"])

    run(tmp_path, test, receive_maximum=2)


def test_topic_aliases(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=5, properties=b"\x11\x00\x00\x00\x01")
        alias = b"\x23\x00\x01"
        client.send(publish(TOPIC, b"one", 1, v5=True, own=alias), publish("", b"two", 2, v5=True, own=alias))
        await client.packet()
        await client.packet()
        assert rig.intake.payloads == [b"one", b"two"]
        other = publish("site/x", b"three", 3, v5=True, own=alias)
        again = publish("", b"four", 4, v5=True, own=alias)
        client.send(other, again)
        await until(lambda: rig.broker.packets[1:] == [other, again])

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (publish("", b"x", 1, v5=True, own=b"\x23\x00\x02"), 0x82),
        (publish(TOPIC, b"x", 1, v5=True, own=b"\x23\x00\x0b"), 0x94),
        (publish(TOPIC, b"x", 1, v5=True, own=b"\x23\x00\x00"), 0x94),
        (publish(TOPIC, b"x", 1, v5=True, own=b"\x23\x00\x01\x23\x00\x01"), 0x82),
        (publish(TOPIC, b"x", 1, v5=True, own=b"\x7f"), 0x81),
        (publish("", b"x", 1, v5=True), 0x90),
        (publish("telemetry/#", b"x", 1, v5=True), 0x90),
        (publish(TOPIC, b"x", 0, v5=True), 0x82),
        (wire.packet(0x36, string(TOPIC) + b"\x00\x01\x00"), 0x81),
        (wire.packet(0x32, b"\x00\x02\xff\xfe\x00\x01\x00"), 0x81),
        (wire.packet(0x32, b"\x00\x02a\x00\x00\x01\x00"), 0x81),
        (wire.packet(0x32, b"\x00\xff"), 0x81),
        (wire.packet(0x32, b"\x00"), 0x81),
        (b"\x30\xff\xff\xff\xff\x7f", 0x81),
        (b"\x30\xff\xff\xff\x7f", 0x95),
        (connect(5), 0x82),
        (b"\xf0\x00", 0x82),
    ],
)
def test_who_breaks_the_protocol_is_told_and_cut_off(tmp_path: Path, packet: bytes, reason: int):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=5)
        client.send(packet)
        assert await client.closed() == bytes((0xE0, 1, reason))
        assert rig.listener.status()["broken"] == 1
        assert rig.intake.offered == []

    run(tmp_path, test)


@pytest.mark.parametrize(
    "packet",
    [
        b"\xc0\x00",
        connect(flags=0xFF),
        connect(flags=0x40),
        connect() + b"",
        b"\x10\x02\x00\x09",
    ],
)
def test_who_does_not_introduce_itself_properly_is_cut_off(tmp_path: Path, packet: bytes):
    async def test(rig: Rig) -> None:
        client = await rig.client()
        client.send(packet)
        if packet == connect():
            client.send(connect())
            assert (await client.closed())[4:] == b""
        else:
            assert await client.closed() == b""

    run(tmp_path, test)


def test_more_unacknowledged_messages_than_allowed(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        client = await rig.node(level=5, client_id="five")
        client.send(*(publish(TOPIC, b"x", number, v5=True) for number in range(1, 5)))
        assert await client.closed() == b"\xe0\x01\x93"
        twice = await rig.node(level=5, client_id="twice")
        twice.send(*(publish(TOPIC, b"x", number, v5=True, qos=2) for number in range(1, 5)))
        assert await twice.closed() == b"\xe0\x01\x93"
        rig.intake.offered.clear()
        old = await rig.node(client_id="old")
        for number in range(1, 9):
            old.send(publish(TOPIC, b"x", number))
            await asyncio.sleep(0.005)
        assert len(rig.intake.offered) == 4
        rig.intake.acknowledge()
        await until(lambda: len(rig.intake.offered) == 4)

    run(tmp_path, test, receive_maximum=3)


def test_nobody_is_read_while_the_intake_is_full(tmp_path: Path):
    async def test(rig: Rig) -> None:
        first, second = await rig.node(client_id="a"), await rig.node(client_id="b")
        first.send(publish(TOPIC, b"one", 1))
        await first.packet()
        source = rig.intake.offered[0][0]
        source.pause()
        second.send(publish(TOPIC, b"two", 1))
        third = await rig.node(client_id="d")
        third.send(publish(TOPIC, b"three", 1))
        await asyncio.sleep(0.05)
        assert rig.intake.payloads == [b"one"]
        source.resume()
        await until(lambda: sorted(rig.intake.payloads) == [b"one", b"three", b"two"])
        rig.hub.exactly_once.pause()
        assert rig.hub.paused
        rig.hub.exactly_once.resume()
        assert not rig.hub.paused

    run(tmp_path, test)


def test_the_broker_goes_and_comes_back(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1))
        await until(lambda: rig.intake.offered)
        await rig.broker.stop()
        await until(lambda: not rig.listener.status()["connected"])
        rig.intake.acknowledge()
        assert await client.closed() == b"\x40\x02\x00\x01"
        refused = await rig.client()
        rig.broker.path.unlink()
        assert (await refused.hello(connect())).hex() == "20020003"
        await until(lambda: rig.listener.status()["error"])
        await rig.broker.start()
        await until(lambda: rig.listener.status()["connected"])
        assert rig.listener.status()["error"] is None
        await rig.node(client_id="again")

    run(tmp_path, test)


def test_a_client_whose_last_messages_are_never_stored_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "END_SECONDS", 0.05)

    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        client = await rig.node(clean=False)
        client.send(publish(TOPIC, b"one", 1))
        await until(lambda: rig.intake.offered)
        rig.broker.writer_of("node-1:c").close()
        assert await client.closed() == b""

    run(tmp_path, test)


@pytest.mark.parametrize(("level", "code", "answer"), [(4, 5, "20020005"), (5, 0x87, "87")])
def test_what_the_broker_refuses_is_refused(tmp_path: Path, level: int, code: int, answer: str):
    async def test(rig: Rig) -> None:
        rig.broker.code = code
        client = await rig.client()
        assert answer in (await client.hello(connect(level))).hex()
        await client.closed()
        assert rig.listener.status()["refused"] == 1

    run(tmp_path, test)


def test_a_goodbye_reaches_the_broker_and_a_broken_link_does_not(tmp_path: Path):
    async def test(rig: Rig) -> None:
        polite, gone = await rig.node(client_id="polite", clean=False), await rig.node(client_id="gone", clean=False)
        polite.send(b"\xe0\x00")
        assert await polite.closed() == b""
        await until(lambda: rig.broker.ended == 1)
        assert rig.broker.packets[-1] == b"\xe0\x00"
        rig.broker.packets.clear()
        gone.writer.transport.abort()
        await until(lambda: rig.broker.ended == 2)
        assert rig.broker.packets == []
        await until(lambda: rig.listener.status()["clients"] == 0)

    run(tmp_path, test)


def test_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.listeners.mqtt.listener.CHECK_SECONDS", 0.02)

    async def test(rig: Rig) -> None:
        mute = await rig.client()
        five = await rig.node(level=5, keepalive=1)
        (kept,) = rig.hub.sessions.values()
        kept._last_heard -= 2
        assert await five.closed() == b"\xe0\x01\x8d"
        assert await mute.closed() == b""
        rig.broker.mute = True
        waits = await rig.client()
        waits.send(connect(client_id="waits"), publish(TOPIC, b"early", 1))
        assert await waits.closed() == b""
        assert rig.listener.status()["timed_out"] == 3

    run(tmp_path, test, connect_timeout=0.2)


def test_what_follows_the_connect_at_once_is_taken_once_the_broker_answered(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.client()
        client.send(connect(), publish(TOPIC, b"early", 1), publish(TOPIC, b"next", 2))
        assert await client.packet() == b"\x20\x02\x00\x00"
        assert await client.packet() == b"\x40\x02\x00\x01"
        assert rig.intake.payloads == [b"early", b"next"]
        bad = await rig.client()
        bad.send(connect(client_id="bad"), b"\xf0\x00")
        assert (await bad.closed()).hex() == "20020000"

    run(tmp_path, test)


def test_a_client_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.listeners.mqtt.listener.CHECK_SECONDS", 0.02)
    monkeypatch.setattr(connection, "STUCK_SECONDS", 0.2)

    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        client.writer.transport.pause_reading()
        writer = rig.broker.writer_of("node-1:c")
        for _ in range(300):
            writer.write(publish("command/node-1", b"x" * 100_000, qos=0))
        await asyncio.sleep(0.1)
        (kept,) = rig.hub.sessions.values()
        assert kept._transport.get_write_buffer_size() < 2 * 2**20
        await until(lambda: rig.listener.status()["timed_out"] == 1)
        client.writer.transport.resume_reading()
        await until(lambda: rig.listener.status()["clients"] == 0)

    run(tmp_path, test)


def test_a_client_that_reads_late_gets_everything(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        client.writer.transport.pause_reading()
        writer = rig.broker.writer_of("node-1:c")
        sent = publish("command/node-1", b"x" * 100_000, qos=0)
        for _ in range(100):
            writer.write(sent)
        await asyncio.sleep(0.1)
        client.writer.transport.resume_reading()
        async with asyncio.timeout(5):
            assert await client.reader.readexactly(100 * len(sent)) == 100 * sent

    run(tmp_path, test)


def test_a_client_that_did_not_read_when_it_came_to_the_broker_again(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node()
        (kept,) = rig.hub.sessions.values()
        client.writer.transport.pause_reading()
        kept.write(b"\xd0\x00" * 2**23)
        waiting = kept._transport.get_write_buffer_size()
        assert waiting > connection.WRITE_HIGH
        packet = publish("site/x", b"x", 1)
        kept.pass_on(packet)
        await until(lambda: packet in rig.broker.packets)
        sent = publish("command/node-1", b"x" * 100_000, qos=0)
        for _ in range(100):
            rig.broker.writers[-1].write(sent)
        await asyncio.sleep(0.1)
        assert kept._transport.get_write_buffer_size() <= waiting
        client.writer.transport.resume_reading()
        async with asyncio.timeout(5):
            await client.reader.readexactly(2**24)
            assert await client.reader.readexactly(100 * len(sent)) == 100 * sent

    run(tmp_path, test)


def test_a_broker_that_does_not_keep_up_is_not_flooded(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        rig.broker.writer_of("node-1:c").transport.pause_reading()  # type: ignore[attr-defined]
        packet = publish("site/x", b"x" * 100_000, 1)
        for _ in range(200):
            client.send(packet)
        await asyncio.sleep(0.1)
        (kept,) = rig.hub.sessions.values()
        assert kept._at_broker._backend._transport.get_write_buffer_size() < 2 * 2**20
        rig.broker.writer_of("node-1:c").transport.resume_reading()  # type: ignore[attr-defined]
        await until(lambda: rig.broker.packets.count(packet) == 200)

    run(tmp_path, test)


def test_too_many_clients(tmp_path: Path):
    async def test(rig: Rig) -> None:
        await rig.node(client_id="one")
        await rig.node(client_id="two")
        third, fifth = await rig.client(), await rig.client()
        assert (await third.hello(connect(client_id="three"))).hex() == "20020003"
        assert (await fifth.hello(connect(5, client_id="five"))).hex() == "2003009700"
        crowd = [await rig.client() for _ in range(20)]
        assert await crowd[-1].closed() == b""

    run(tmp_path, test, max_clients=2)


@pytest.mark.parametrize("bound", ["max_clients", "files"])
def test_a_client_that_returns_has_its_place_when_all_are_taken(tmp_path: Path, bound: str):
    async def test(rig: Rig) -> None:
        former = await rig.node(level=5, clean=False)
        if bound == "files":
            rig.hub.max_files = len(rig.hub.connections) + rig.hub.backends
        again = await rig.client()
        assert (await again.hello(connect(5, clean=False)))[3] == 0
        assert await former.closed() == b"\xe0\x01\x8e"
        again.send(publish(TOPIC, b"one", 1, v5=True))
        assert await again.packet() == b"\x40\x02\x00\x01"
        other = await rig.client()
        assert (await other.hello(connect(5, client_id="other"))).hex() == "2003009700"
        assert rig.listener.status()["clients"] == 1

    run(tmp_path, test, **({"max_clients": 1} if bound == "max_clients" else {}))


def test_nodes_that_go_are_cut_off_and_others_are_not(tmp_path: Path):
    async def test(rig: Rig) -> None:
        stays, goes = await rig.node(client_id="stays"), await rig.node(level=5, username="node-2")
        known = rig.nodes.lookup("node-1")
        assert known
        rig.nodes.replace({"node-1": known, "node-2": Node("node-2", credentials.make("new"))})
        assert await goes.closed() == b"\xe0\x01\x98"
        stays.send(publish(TOPIC, b"one", 1))
        assert await stays.packet() == b"\x40\x02\x00\x01"
        assert (await (await rig.client()).hello(connect(username="node-2"))).hex() == "20020004"

    run(tmp_path, test)


def test_settings_that_can_and_can_not_change_in_place(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node()
        assert rig.listener.configure(replace(rig.listener.options, max_clients=1))
        assert (await (await rig.client()).hello(connect(client_id="two"))).hex() == "20020003"
        client.send(b"\xc0\x00")
        assert await client.packet() == b"\xd0\x00"
        assert not rig.listener.configure(replace(rig.listener.options, topic_prefix="x"))
        tls = TlsOptions(certificate=tmp_path, key=tmp_path)
        assert not rig.listener.configure(replace(rig.listener.options, tls=tls))

    run(tmp_path, test)


def test_a_port_that_is_taken_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.backoff.Backoff.next", lambda _: 0.01)

    async def test(rig: Rig) -> None:
        other = Rig(tmp_path / "other")
        (tmp_path / "other").mkdir(exist_ok=True)
        other.listener = type(rig.listener)(rig.listener.options, other.listener._core)
        task = asyncio.create_task(other.listener.run())
        await until(lambda: "in use" in (other.listener.status()["error"] or ""))
        await rig.stop()
        await until(lambda: other.listener._ports._servers)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(tmp_path, test)


def test_stopping_takes_nothing_more_and_answers_for_what_was_taken(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.intake.automatic = False
        client = await rig.node(level=5)
        client.send(publish(TOPIC, b"one", 1, v5=True))
        await until(lambda: rig.intake.offered)
        rig.listener.quiesce()
        client.send(publish(TOPIC, b"two", 2, v5=True))
        await asyncio.sleep(0.02)
        assert rig.intake.payloads == [b"one"]
        rig.intake.acknowledge()
        assert await client.packet() == b"\x40\x02\x00\x01"
        await rig.stop()
        assert rig.intake.offered == []

    run(tmp_path, test)


def test_stopping_is_told(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=5)
        await rig.stop()
        assert await client.closed() == b"\xe0\x01\x8b"

    run(tmp_path, test)


async def site_writer(rig: Rig) -> asyncio.StreamWriter:
    await until(lambda: rig.broker.packets)
    return rig.broker.writer_of("iot-gateway")


def test_wills_and_other_clients_of_the_broker_are_taken(tmp_path: Path):
    async def test(rig: Rig) -> None:
        writer = await site_writer(rig)
        assert rig.broker.packets[0] == wire.packet(0x82, b"\x00\x01\x00" + string("telemetry/#") + b"\x25")
        for packet in (
            publish("telemetry/node-1/status", b"gone", 3, v5=True),
            publish("telemetry/node-2", b"", 4, v5=True),
            publish("telemetry/node-2", b"bad", 5, v5=True),
            publish("telemetry/node-2", b"lost", qos=0, v5=True),
        ):
            writer.write(packet)
        await until(lambda: len(rig.broker.packets) == 4)
        assert [offered[1:4] for offered in rig.intake.offered] == [
            ("node-1", "telemetry/node-1/status", b"gone"),
            ("node-2", "telemetry/node-2", b"bad"),
            ("node-2", "telemetry/node-2", b"lost"),
        ]
        assert sorted(rig.broker.packets[1:]) == [b"\x40\x02\x00\x03", b"\x40\x02\x00\x04", b"\x40\x02\x00\x05"]
        source: Any = rig.intake.offered[0][0]
        source.pause()
        assert rig.hub.paused
        source.resume()
        assert not rig.hub.paused

    run(tmp_path, test)


def test_the_last_value_of_a_topic_is_retained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(site, "FLUSH_SECONDS", 0.05)

    async def test(rig: Rig) -> None:
        client = await rig.node()
        client.send(*(publish(TOPIC, b"v%d" % number, number) for number in range(1, 100)))
        client.send(publish(TOPIC, b"bad", 100), publish(TOPIC + "/large", b"x" * 5000, 101))
        retained = wire.packet(0x31, string(TOPIC) + b"\x00v99")
        await until(lambda: retained in rig.broker.packets)
        await asyncio.sleep(0.1)
        sent = [packet for packet in rig.broker.packets if packet[0] == 0x31]
        assert len(sent) < 5
        assert sent[-1] == retained
        assert rig.listener.status()["last_values_left_out"] == 1

    run(tmp_path, test)


@pytest.mark.parametrize(
    "packet",
    [b"\xe0\x00", b"\xf0\x00", b"\x90\x04\x00\x01\x00\x87", b"\x20\x03\x00\x87\x00", b"\x30\xff\xff\xff\xff\x7f"],
)
def test_a_broker_that_refuses_or_is_none_is_tried_again(tmp_path: Path, packet: bytes):
    async def test(rig: Rig) -> None:
        writer = await site_writer(rig)
        writer.write(packet)
        await until(lambda: rig.listener.status()["error"])
        await until(lambda: rig.listener.status()["connected"])

    run(tmp_path, test)


def test_a_broker_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(site, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(site, "PING_SECONDS", 0.05)

    async def test(rig: Rig) -> None:
        await site_writer(rig)
        await until(lambda: b"\xc0\x00" in rig.broker.packets)
        await until(lambda: "silent" in (rig.listener.status()["error"] or ""))

    run(tmp_path, test)


def test_the_broker_is_pinged_for_clients_that_only_send_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.listeners.mqtt.listener.CHECK_SECONDS", 0.02)
    monkeypatch.setattr(at_broker, "PING_SECONDS", 0.1)

    async def test(rig: Rig) -> None:
        client = await rig.node(clean=False)
        await until(lambda: b"\xc0\x00" in rig.broker.packets)
        writer = rig.broker.writer_of("node-1:c")
        command = publish("command/node-1", b"open", qos=0)
        writer.write(b"\xd0\x00" + command)
        assert await client.packet() == command

    run(tmp_path, test)


def test_a_client_is_cut_off_when_the_broker_makes_no_sense(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.broker.mute = True
        client = await rig.client()
        client.send(connect())
        await until(lambda: len(rig.broker.writers) == 2)
        rig.broker.writers[1].write(b"\xd0\x00")
        assert await client.packet() == b"\x20\x02\x00\x03"

    run(tmp_path, test)


def test_a_client_that_leaves_while_the_broker_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("iot_gateway.listeners.mqtt.listener.CHECK_SECONDS", 0.02)

    async def test(rig: Rig) -> None:
        rig.broker.mute = True
        client = await rig.client()
        client.send(connect())
        await until(lambda: len(rig.broker.writers) == 2)
        client.writer.transport.abort()
        await until(lambda: rig.broker.ended == 1)
        assert not rig.hub.connections

    run(tmp_path, test, connect_timeout=0.2)


def test_clients_of_one_node_are_apart_from_those_of_another(tmp_path: Path):
    async def test(rig: Rig) -> None:
        await rig.node(client_id="same")
        await rig.node(client_id="same", username="node-2")
        assert rig.listener.status()["clients"] == 2
        assert set(rig.hub.sessions) == {"node-1:same", "node-2:same"}

    run(tmp_path, test)


def test_a_client_of_telemetry_alone_is_at_the_broker_only_when_it_has_to_be(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node()
        await until(lambda: rig.broker.ended == 1)
        assert rig.listener.status()["at_broker"] == 0
        client.send(publish(TOPIC, b"reading", 1))
        assert await client.packet() == b"\x40\x02\x00\x01"
        subscribe = wire.packet(0x82, b"\x00\x05" + string("command/node-1") + b"\x01")
        other = publish("site/light", b"on", 6)
        client.send(subscribe, other, publish(TOPIC, b"next", 7))
        assert {await client.packet(), await client.packet()} == {
            wire.packet(0x90, b"\x00\x05\x01"),
            b"\x40\x02\x00\x07",
        }
        await until(lambda: rig.broker.packets[-2:] == [subscribe, other])
        assert len(rig.broker.connects) == 3
        assert rig.broker.connects[1] == rig.broker.connects[2]
        rig.broker.writers[2].write(publish("command/node-1", b"open", qos=0))
        assert await client.packet() == publish("command/node-1", b"open", qos=0)
        assert rig.listener.status()["at_broker"] == 1
        client.send(b"\xe0\x00")
        await until(lambda: rig.listener.status()["at_broker"] == 0)

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        ({}, False),
        ({"clean": False}, True),
        ({"will": string("t") + string("p")}, True),
        ({"level": 5}, False),
        ({"level": 5, "clean": False}, False),
        ({"level": 5, "properties": b"\x11\x00\x00\x00\x00"}, False),
        ({"level": 5, "properties": b"\x11\x00\x00\x00\x01"}, True),
    ],
)
def test_who_stays_at_the_broker(tmp_path: Path, fields: dict[str, Any], stays: bool):
    async def test(rig: Rig) -> None:
        await rig.node(**fields)
        assert rig.listener.status()["at_broker"] == stays

    run(tmp_path, test)


def test_telemetry_goes_on_without_the_broker(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node(level=5)
        await until(lambda: rig.broker.ended == 1)
        await rig.broker.stop()
        rig.broker.path.unlink()
        await until(lambda: not rig.listener.status()["connected"])
        client.send(publish(TOPIC, b"reading", 1, v5=True))
        assert await client.packet() == b"\x40\x02\x00\x01"
        client.send(publish("site/light", b"on", 2, v5=True))
        assert await client.closed() == b"\xe0\x01\x88"

    run(tmp_path, test)


def test_a_broker_that_does_not_want_a_client_again(tmp_path: Path):
    async def test(rig: Rig) -> None:
        client = await rig.node()
        await until(lambda: rig.broker.ended == 1)
        rig.broker.code = 5
        client.send(publish("site/light", b"on", 2))
        assert await client.closed() == b""

    run(tmp_path, test)


def test_a_second_connection_takes_over(tmp_path: Path):
    async def test(rig: Rig) -> None:
        first = await rig.node(level=5)
        second = await rig.node(level=5)
        assert await first.closed() == b"\xe0\x01\x8e"
        second.send(b"\xc0\x00")
        assert await second.packet() == b"\xd0\x00"
        assert rig.listener.status()["clients"] == 1

    run(tmp_path, test)
