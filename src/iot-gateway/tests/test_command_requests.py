"""Commands that come in by the control socket, by the chain, and by the command line."""

import asyncio
import json
import sqlite3
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_desk import Chain

from iot_gateway import cli, command_requests, control
from iot_gateway.amqp_properties import ReceivedProperties
from iot_gateway.command_requests import MAX_BYTES, CommandRequests
from iot_gateway.desk import Book, CommandRequest, Desk, read_value
from iot_gateway.interfaces import CommandMessage
from iot_gateway.nodes import Node, Nodes
from iot_gateway.uplinks.amqp_commands import AmqpCommands


class Graveyard:
    """An intake that keeps dead letters."""

    def __init__(self) -> None:
        self.buried: list[tuple[str, bytes, str]] = []

    def bury(self, source: Any, topic: str, payload: bytes, reason: str, token: Any) -> None:
        self.buried.append((topic, payload, reason))
        source.pause()
        source.resume()
        source.acknowledge([source.refused(token, reason)])


class Setup:
    def __init__(self, directory: Path, **options: Any):
        self.desk = Desk(Book(directory / "commands.db"), Chain(), **options)
        self.intake = Graveyard()
        self.requests = CommandRequests(self.desk, Nodes({"kitchen": Node("kitchen")}), self.intake)  # type: ignore[arg-type]
        self.done: list[str] = []

    def take(self, body: Any, identifier: str = "", given: float | None = None, fault: str = "") -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = CommandMessage(raw, identifier, given, "amqp:q", fault)
        self.requests.take(message, lambda: self.done.append(identifier))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.done) < count:
                await asyncio.sleep(0.005)

    async def ids(self) -> list[str]:
        return [command.id for command in reversed(await self.desk.latest())]


LIGHT = {"node": "kitchen", "target": "light", "value": 60}


async def test_a_message_is_taken_once_and_in_order(tmp_path: Path):
    setup = Setup(tmp_path)
    for number in range(20):
        setup.take({**LIGHT, "id": f"c{number:02}"})
    setup.take({**LIGHT, "id": "c00"})
    setup.take(LIGHT, "of-the-message")
    setup.take({**LIGHT, "id": "own"}, "of-the-message")
    await setup.until(23)
    assert await setup.ids() == [*(f"c{number:02}" for number in range(20)), "of-the-message", "own"]
    assert setup.requests.status() == {"taken": 23, "rejected": 0}
    (found,) = await setup.desk.latest(limit=1)
    assert (found.origin, found.value) == ("amqp:q", 60.0)


async def test_a_message_that_waited_long_is_not_younger_for_it(tmp_path: Path):
    setup = Setup(tmp_path)
    setup.take({**LIGHT, "ttl": 60}, "old", given=1000.0)
    setup.take({**LIGHT, "ttl": 60, "given": 2000.0}, "told", given=1000.0)
    setup.take({**LIGHT, "ttl": 60}, "early", given=9e9)
    await setup.until(3)
    found = {command.id: command for command in await setup.desk.latest()}
    assert (found["old"].expires, found["told"].expires) == (1060.0, 2060.0)
    assert found["early"].expires < 9e9, "a clock that is ahead makes no command last longer"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not JSON"),
        (b"[]", "a JSON object is expected"),
        (b" " * (MAX_BYTES + 1), "at most 65536 are allowed"),
        ({"target": "light"}, "node"),
        ({**LIGHT, "ttl": -1}, "ttl=-1"),
        ({**LIGHT, "value": [1]}, "value=[1]: a number, true or false"),
        ({**LIGHT, "node": "attic"}, "node='attic': no node is called so"),
        ({**LIGHT, "id": "taken", "value": 61}, "id='taken': that is another command"),
    ],
)
async def test_what_can_not_be_taken_is_a_dead_letter_and_blocks_nothing(tmp_path: Path, body: Any, reason: str):
    setup = Setup(tmp_path)
    await setup.desk.submit(CommandRequest(id="taken", node="kitchen", target="light", value=60.0))
    setup.take(body, "bad")
    setup.take(LIGHT, "good")
    await setup.until(2)
    assert setup.done == ["bad", "good"]
    ((where, kept, told),) = setup.intake.buried
    assert where == "amqp:q"
    assert kept == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert reason in told
    assert setup.requests.status() == {"taken": 1, "rejected": 1}


async def test_a_message_of_which_parts_can_not_be_read_is_a_dead_letter(tmp_path: Path):
    """Its identifier may be among them, and the time from which it lasts."""
    setup = Setup(tmp_path)
    setup.take(LIGHT, fault="headers that can't be read")
    await setup.until(1)
    assert await setup.ids() == []
    assert setup.intake.buried[0][2] == "headers that can't be read"


async def test_a_full_desk_refuses(tmp_path: Path):
    setup = Setup(tmp_path, most_open=1)
    setup.take(LIGHT, "one")
    setup.take(LIGHT, "two")
    await setup.until(2)
    assert "cancel some" in setup.intake.buried[0][2]


async def test_a_disk_that_refuses_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command_requests, "RETRY_SECONDS", 0.01)
    setup = Setup(tmp_path)
    add, tries = setup.desk._book.add, iter(range(10))

    def failing(*arguments: Any) -> None:
        if next(tries) < 3:
            raise sqlite3.OperationalError("disk full")
        add(*arguments)

    monkeypatch.setattr(setup.desk._book, "add", failing)
    setup.take(LIGHT, "one")
    await setup.until(1)
    assert (await setup.ids(), setup.intake.buried) == (["one"], [])


async def test_nothing_is_taken_at_the_end(tmp_path: Path):
    setup = Setup(tmp_path)
    setup.take(LIGHT, "one")
    setup.requests.close()
    setup.take(LIGHT, "two")
    await asyncio.sleep(0.05)
    assert setup.done == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60", 60.0),
        ("-1.5e3", -1500.0),
        ("on", True),
        ("True", True),
        ("OFF", False),
        ("null", None),
        ('"60"', "60"),
        ("up", "up"),
        ("", ""),
        ("[1]", "[1]"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
    ],
)
def test_values_as_people_write_them(text: str, value: Any):
    read = read_value(text)
    assert (read, type(read)) == (value, type(value))


# The command line

CONFIG = """site = "s"
gateway = "g"
status_socket = "{0}/status.sock"
[listeners.mqtt]
[uplink]
host = "localhost"
username = "u"
secrets = 1
"""


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.toml"
    (tmp_path / "secrets.toml").touch(0o600)
    (tmp_path / "secrets.toml").write_text('[uplink]\npassword = "p"\n')
    path.write_text('secrets_file = "secrets.toml"\n' + CONFIG.format(tmp_path).replace("secrets = 1\n", ""))

    async def inside(*arguments: str) -> int:
        setup = Setup(tmp_path)
        async with setup.desk.closing(), control.serve(tmp_path / "status-control.sock", setup.requests.handlers()):
            return await asyncio.to_thread(cli.main, [*arguments, "--config", str(path)])

    def run(*arguments: str) -> Any:
        status = asyncio.run(inside(*arguments))
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    given = run("send-command", "kitchen", "light", "60", "--ttl", "60", "--id", "one")
    assert (given["id"], given["value"], given["state"], given["origin"]) == ("one", 60.0, "queued", "cli")
    assert run("send-command", "kitchen", "shutter", "up")["value"] == "up"
    assert run("send-command", "kitchen", "/3/0/4")["value"] is None
    assert [command["target"] for command in run("list-commands", "--node", "kitchen", "--limit", "2")] == [
        "/3/0/4",
        "shutter",
    ]
    assert run("cancel-command", "one", "--reason", "rain")["state"] == "cancelled"
    assert [command["id"] for command in run("list-commands", "--state", "cancelled")] == ["one"]
    assert run("cancel-command", "one") == "iot-gateway: command 'one' is cancelled and can't be cancelled\n"
    assert run("send-command", "attic", "light") == (
        "iot-gateway: node='attic': no node is called so; list-nodes shows those that there are\n"
    )
    assert cli.main(["list-commands", "--config", str(path)]) == 1
    assert "no relay answers" in capsys.readouterr().err


# The queue


class Channel:
    def __init__(self) -> None:
        self.connection = SimpleNamespace(is_open=True)
        self.is_open = True
        self.acked: list[int] = []
        self.closed: list[str] = []
        self.prefetch = 0

    def add_on_close_callback(self, callback: Any) -> None:
        self.on_close = callback

    def add_on_cancel_callback(self, callback: Any) -> None:
        self.on_cancel = callback

    def basic_qos(self, prefetch_count: int, callback: Any) -> None:
        self.prefetch = prefetch_count
        callback(None)

    def basic_consume(self, queue: str, on_message: Any, callback: Any) -> None:
        self.queue, self.on_message = queue, on_message
        callback(None)

    def basic_ack(self, tag: int) -> None:
        self.acked.append(tag)

    def close(self, _code: int, text: str) -> None:
        self.closed.append(text)
        self.is_open = False

    def deliver(self, tag: int, body: bytes, encoded: bytes | None = None, **properties: Any) -> None:
        """Deliver a message, which comes with headers and an identifier as its giver has encoded them."""
        received = ReceivedProperties(**properties) if encoded is None else ReceivedProperties().decode(encoded)
        self.on_message(self, SimpleNamespace(delivery_tag=tag), received, body)


def test_the_queue_is_acknowledged_when_the_command_is_taken():
    taken: list[tuple[CommandMessage, Any]] = []
    commands = AmqpCommands("iot.commands.s.g", lambda message, done: taken.append((message, done)))
    channel = Channel()
    commands._on_open(channel)  # type: ignore[arg-type]
    assert (channel.queue, channel.prefetch) == ("iot.commands.s.g", 100)
    channel.deliver(1, b"{}", message_id="m", timestamp=12)
    channel.deliver(2, b"[]")
    assert taken[0][0] == CommandMessage(b"{}", "m", 12.0, "amqp:iot.commands.s.g")
    assert taken[1][0] == CommandMessage(b"[]", "", None, "amqp:iot.commands.s.g")
    unreadable = struct.pack(">HI", 1 << 13 | 1 << 7, 3) + b"\x01x?" + b"\x01m"
    channel.deliver(3, b"{}", unreadable)
    assert taken[2][0].fault.startswith("headers that can't be read: ")
    assert channel.acked == []
    taken[1][1]()
    assert channel.acked == [2]
    assert commands.status() == {"queue": "iot.commands.s.g", "consuming": True, "received": 3, "error": None}
    channel.on_close(Channel(), Exception("another"))
    assert commands.consuming
    channel.on_cancel(None)
    assert channel.closed == ["the broker cancelled the consumer"]
    channel.on_cancel(None)
    channel.connection = SimpleNamespace(is_open=False)
    channel.on_close(channel, Exception("gone"))
    taken[0][1]()
    assert channel.acked == [2], "it comes again on another channel"
    assert not commands.consuming
