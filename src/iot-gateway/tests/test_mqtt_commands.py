"""Commands over MQTT: who takes them, how they are carried, and what is taken from a node about them."""

import asyncio
import contextlib
import sqlite3
import struct
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import orjson
import pytest
from listener_rig import until
from mqtt_rig import Client, Rig, connect, publish, run, string
from msgspec.structs import replace

from iot_gateway.desk import CommandRequest, State, desk, reports
from iot_gateway.listeners.mqtt import MqttOptions, site, wire
from iot_gateway.listeners.mqtt.subscribing import matches

STATE = "commands/node-1/state"


def subscribe(pattern: str, identifier: int = 7, *, v5: bool = False) -> bytes:
    return wire.packet(0x82, struct.pack(">H", identifier) + b"\0" * v5 + string(pattern) + b"\x01")


def unsubscribe(pattern: str, *, v5: bool = False) -> bytes:
    return wire.packet(0xA2, struct.pack(">H", 8) + b"\0" * v5 + string(pattern))


def said(state: str, identifier: str = "one", **more: Any) -> bytes:
    return orjson.dumps({"id": identifier, "state": state, **more})


@contextlib.asynccontextmanager
async def desk_of(rig: Rig) -> AsyncGenerator[None]:
    async with rig.desk.closing():
        task = asyncio.create_task(rig.desk.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def submit(rig: Rig, identifier: str = "one", node: str = "node-1", **more: Any) -> None:
    await rig.desk.submit(CommandRequest(id=identifier, node=node, target="light", value=60.0, **more))


async def states(rig: Rig, identifier: str = "one") -> list[str]:
    (found,) = [command for command in await rig.desk.latest() if command.id == identifier]
    return [str(step.state) for step in found.steps]


def carried(rig: Rig) -> list[bytes]:
    return [packet for packet in rig.broker.packets if b"commands/node" in packet and packet[0] >> 4 == 3]


async def subscribed(client: Client, pattern: str, *, v5: bool = False) -> None:
    client.send(subscribe(pattern, v5=v5))
    assert (await client.packet())[0] == 0x90


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("pattern", ["commands/node-1", "commands/#", "+/node-1"])
def test_a_command_goes_to_a_node_that_subscribes_and_what_it_says_is_noted(tmp_path: Path, level: int, pattern: str):
    async def test(rig: Rig) -> None:
        rig.broker.puback = 0
        async with desk_of(rig):
            await submit(rig)
            node = await rig.node(level=level)
            await asyncio.sleep(0.05)
            assert not carried(rig), "it has not subscribed"
            await subscribed(node, pattern, v5=level == 5)
            await until(lambda: carried(rig))
            (packet,) = carried(rig)
            assert packet[0] == 0x32
            assert string("commands/node-1") in packet
            assert b'"id":"one","target":"light","value":60.0' in packet
            assert packet[packet.index(b"node-1") + 9 :].startswith(b"\x02\0\0\x0e"), "forgotten with the command"
            for number, state in enumerate(("acknowledged", "applied"), 1):
                node.send(publish(STATE, said(state), number, v5=level == 5))
                assert await node.packet() == b"\x40\x02" + struct.pack(">H", number)
            assert await states(rig) == ["queued", "sent", "acknowledged", "applied"]
            assert rig.listener.status()["reports"] == 2
            assert not rig.intake.offered

    run(tmp_path, test)


def test_a_session_that_is_there_is_reached_without_a_new_subscription(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.broker.puback = 0
        rig.broker.present = True
        async with desk_of(rig):
            await submit(rig)
            await rig.node(clean=False)
            await until(lambda: carried(rig))

    run(tmp_path, test)


def test_a_session_without_the_subscription_is_not_asked_twice(tmp_path: Path):
    async def test(rig: Rig) -> None:
        rig.broker.puback = 0x10
        rig.broker.present = True
        async with desk_of(rig):
            await submit(rig)
            node = await rig.node(clean=False)
            await until(lambda: carried(rig))
            await asyncio.sleep(0.05)
            assert await states(rig) == ["queued"]
            rig.desk.arrived("node-1")
            await asyncio.sleep(0.05)
            assert len(carried(rig)) == 1
            rig.broker.puback = 0
            await subscribed(node, "commands/node-1")
            await until(lambda: len(carried(rig)) == 2)
            assert await states(rig) == ["queued", "sent"]

    run(tmp_path, test)


@pytest.mark.parametrize("end", ["unsubscribe", "leave", "refused"])
def test_who_takes_none_gets_none(tmp_path: Path, end: str):
    async def test(rig: Rig) -> None:
        rig.broker.puback = 0x87 if end == "refused" else 0
        async with desk_of(rig):
            node = await rig.node()
            await subscribed(node, "commands/node-1")
            if end == "unsubscribe":
                node.send(unsubscribe("commands/node-1"))
                await until(lambda: any(packet[0] == 0xA2 for packet in rig.broker.packets))
            elif end == "leave":
                node.writer.close()
                await until(lambda: not rig.hub.connections)
            await submit(rig)
            await submit(rig, "two", "node-2")
            await asyncio.sleep(0.05)
            assert await states(rig) == await states(rig, "two") == ["queued"]
            assert len(carried(rig)) == (end == "refused")

    run(tmp_path, test)


def test_the_broker_goes_while_a_command_is_on_its_way(tmp_path: Path):
    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            node = await rig.node()
            await subscribed(node, "commands/node-1")
            await submit(rig)
            await until(lambda: carried(rig))
            await rig.broker.stop()
            await node.closed()
            await until(lambda: not rig.listener.status()["connected"])
            assert await states(rig) == ["queued"]
            rig.broker.puback = 0
            rig.broker.path.unlink(missing_ok=True)
            await rig.broker.start()
            await until(lambda: rig.listener.status()["connected"])
            await subscribed(await rig.node(), "commands/node-1")
            await until(lambda: len(carried(rig)) == 2)
            await asyncio.sleep(0.05)
            assert await states(rig) == ["queued", "sent"]

    run(tmp_path, test)


def test_a_command_that_timed_out_keeps_its_place_until_the_broker_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """MQTT 5.0, section 4.9: the broker is sent no more than its Receive Maximum before it acknowledges."""
    monkeypatch.setattr(desk, "CARRY_SECONDS", 0.05)
    monkeypatch.setattr(desk, "REPEAT_SECONDS", (0.1,))

    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            for name in ("node-1", "node-2"):
                await subscribed(await rig.node(username=name), f"commands/{name}")
            await submit(rig)
            await until(lambda: carried(rig))
            await submit(rig, "two")
            await submit(rig, "three", "node-2")
            await asyncio.sleep(0.3)
            (first,) = carried(rig)
            assert b'"id":"one"' in first
            rig.broker.puback = 0
            identifier = first[first.index(b"node-1") + 6 :][:2]
            rig.broker.writer_of("iot-gateway").write(b"\x40\x02" + identifier)
            await until(lambda: len(carried(rig)) >= 3)
            await rig.desk.report("node-1", "one", State.ACKNOWLEDGED)
            await until(lambda: any(b'"id":"two"' in packet for packet in carried(rig)))
            order = [packet for packet in carried(rig) if b"node-1" in packet]
            assert [b'"id":"one"' in packet for packet in order] == [True] * (len(order) - 1) + [False]

    monkeypatch.setattr(site, "MOST_UNACKNOWLEDGED", 1)
    run(tmp_path, test)


def test_those_that_wait_for_a_place_learn_that_the_broker_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(site, "MOST_UNACKNOWLEDGED", 1)

    async def test(rig: Rig) -> None:
        link = rig.listener._site
        waiting = [asyncio.create_task(link.publish("t", b"x", 10)) for _ in range(3)]
        await until(lambda: len(rig.broker.packets) == 2)
        await rig.broker.stop()
        async with asyncio.timeout(5):
            ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [ConnectionError] * 3

    run(tmp_path, test)


def test_an_identifier_that_is_in_use_is_not_given_again(tmp_path: Path):
    async def test(rig: Rig) -> None:
        link = rig.listener._site
        first = asyncio.create_task(link.publish("t", b"first", 10))
        await until(lambda: any(b"first" in packet for packet in rig.broker.packets))
        assert link._connection is not None
        link._connection._identifier = 1
        rig.broker.puback = 0
        assert await link.publish("t", b"second", 10) == 0
        used = [packet[5:7] for packet in rig.broker.packets if packet[0] == 0x32]
        assert used == [b"\x00\x02", b"\x00\x03"]
        first.cancel()

    run(tmp_path, test)


@pytest.mark.parametrize("level", [4, 5])
def test_nobody_speaks_for_another_or_gives_commands(tmp_path: Path, level: int):
    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            await submit(rig)
            other = await rig.node(username="node-2", level=level)
            for topic in (STATE, "commands/node-1", "commands/node-2", "commands/node-2/other"):
                other.send(publish(topic, said("applied"), 3, v5=level == 5))
                assert await other.packet() == (b"\x40\x03\0\x03\x87" if level == 5 else b"\x40\x02\0\x03")
            other.send(publish("commands/node-2/state", said("applied"), 4, v5=level == 5))
            assert (await other.packet())[2:4] == b"\0\x04"
            assert await states(rig) == ["queued"], "its own topic, and the command is another's"
            assert rig.listener.status()["forbidden"] == 4
            assert not carried(rig)

    run(tmp_path, test)


@pytest.mark.parametrize(("level", "answer"), [(4, b"\x40\x02\0\x05"), (5, b"\x40\x03\0\x05\x99")])
@pytest.mark.parametrize("payload", [b"", b"{}", b'{"id": "one", "state": "done"}', b"\xff"])
def test_what_makes_no_sense_is_a_dead_letter(tmp_path: Path, level: int, answer: bytes, payload: bytes):
    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            node = await rig.node(level=level)
            node.send(publish(STATE, payload, 5, v5=level == 5))
            assert await node.packet() == answer
            ((topic, kept, reason),) = rig.intake.buried
            assert (topic, kept) == (STATE, payload)
            assert reason

    run(tmp_path, test)


def test_every_quality_of_service(tmp_path: Path):
    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            await submit(rig)
            node = await rig.node()
            node.send(publish(STATE, said("acknowledged"), qos=0))
            node.send(publish(STATE, said("applied"), 9, qos=2))
            assert await node.packet() == b"\x50\x02\0\x09"
            node.send(publish(STATE, said("applied"), 9, qos=2, flags=8), b"\x62\x02\0\x09")
            assert await node.packet() == b"\x50\x02\0\x09"
            assert await node.packet() == b"\x70\x02\0\x09"
            assert await states(rig) == ["queued", "sent", "acknowledged", "applied"]

    run(tmp_path, test)


def test_it_is_acknowledged_only_when_the_book_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reports, "RETRY_SECONDS", 0.01)

    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            await submit(rig)
            node = await rig.node()
            enter, tries = rig.desk._book.step, iter(range(10))

            def failing(*arguments: Any) -> None:
                if next(tries) < 3:
                    raise sqlite3.OperationalError("disk full")
                enter(*arguments)

            monkeypatch.setattr(rig.desk._book, "step", failing)
            node.send(publish(STATE, said("applied"), 1))
            assert await node.packet() == b"\x40\x02\0\x01"
            assert next(tries) == 5
            assert await states(rig) == ["queued", "sent", "applied"]

    run(tmp_path, test)


def test_a_disk_that_takes_nothing_costs_neither_memory_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def test(rig: Rig) -> None:
        async with desk_of(rig):
            await submit(rig)

            def full(*_: Any) -> None:
                raise sqlite3.OperationalError("disk full")

            monkeypatch.setattr(rig.desk._book, "step", full)
            node = await rig.node()
            node.send(*(publish(STATE, said("applied"), qos=0) for _ in range(500)))
            await until(lambda: rig.listener.status()["reports"] == 500)
            assert rig.hub.reports.waiting <= 101
            await rig.stop()
            assert rig.desk.status()["by_state"][State.QUEUED] == 1

    run(tmp_path, test, receive_maximum=100)


def test_malformed_subscriptions_break_the_protocol(tmp_path: Path):
    async def test(rig: Rig) -> None:
        node = await rig.node()
        node.send(wire.packet(0x82, b"\0\x01\0\x09x"))
        await node.closed()
        assert rig.listener.status()["broken"] == 1

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("pattern", "topic", "covers"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("+/+", "a/b", True),
        ("#", "a/b", True),
        ("a/#", "a/b", True),
        ("a/b/#", "a/b", True),
        ("$share/group/a/b", "a/b", True),
        ("a", "a/b", False),
        ("a/b/c", "a/b", False),
        ("a/b/+", "a/b", False),
        ("+", "a/b", False),
        ("b/#", "a/b", False),
        ("", "a/b", False),
    ],
)
def test_topic_filters(pattern: str, topic: str, covers: bool):
    assert matches(pattern, topic) is covers


@pytest.mark.parametrize(("telemetry", "commands"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_the_topics_of_commands_are_not_those_of_telemetry(telemetry: str, commands: str):
    with pytest.raises(ValueError, match="must not lie within"):
        MqttOptions(topic_prefix=telemetry, commands_prefix=commands)
    assert MqttOptions(topic_prefix="a", commands_prefix="ab")


def test_other_topics_need_another_listener(tmp_path: Path):
    async def test(rig: Rig) -> None:
        changed = replace(rig.listener.options, commands_prefix="other")
        assert not rig.listener.configure(changed)
        assert (await (await rig.client()).hello(connect()))[3] == 0

    run(tmp_path, test)
