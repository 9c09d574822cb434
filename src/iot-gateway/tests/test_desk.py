"""Commands with a book on disk, and a courier that does as it is told."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import orjson
import pytest
from listener_rig import until

from iot_gateway.desk import (
    Book,
    Command,
    CommandConflictError,
    CommandError,
    CommandRequest,
    Courier,
    Desk,
    DeskFullError,
    NotReachedError,
    RefusedError,
    State,
    Step,
    UnknownCommandError,
    desk,
)
from iot_gateway.errors import OutboxUnavailableError


class Chain:
    """Stores what it is told as lines."""

    def __init__(self):
        self.lines: list[dict[str, object]] = []
        self.stores = True

    def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
        self.lines.append(orjson.loads(command.to_line(step, "site", "gateway", 1.0)))
        if self.stores:
            done()


class Memory(Courier):
    protocol = "memory"

    def __init__(self, *nodes: str):
        self.nodes = set(nodes)
        self.carried: list[Command] = []
        self.begun = 0
        self.answer: State | Exception = State.SENT
        self.blocked: set[str] = set()

    def reaches(self, node: str) -> bool:
        return node in self.nodes

    async def carry(self, command: Command) -> State:
        self.begun += 1
        if command.node in self.blocked:
            await asyncio.sleep(60)
        self.carried.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@contextlib.asynccontextmanager
async def running(path: Path, courier: Courier | None = None, chain: Chain | None = None) -> AsyncGenerator[Desk]:
    made = Desk(Book(path / "commands.db"), chain or Chain())
    if courier is not None:
        made.attach(courier)
    async with made.closing():
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def light(value: float | str | bool | None = 60.0, **fields: object) -> CommandRequest:
    return CommandRequest.read({"node": "kitchen", "target": "light", "value": value, **fields})


async def state_of(made: Desk, identifier: str) -> State:
    return next(command.state for command in await made.latest() if command.id == identifier)


def states(command: Command) -> list[str]:
    return [str(step.state) for step in command.steps]


async def test_a_command_goes_its_way_and_the_chain_is_told(tmp_path: Path):
    chain, courier = Chain(), Memory("kitchen")
    async with running(tmp_path, courier, chain) as made:
        command = await made.submit(light(id="one", origin="test"))
        assert command.state is State.QUEUED
        await until(lambda: len(courier.carried) == 1)
        assert await made.report("kitchen", "one", State.ACKNOWLEDGED)
        assert await made.report("kitchen", "one", State.APPLIED, "60 %")
        await until(lambda: len(chain.lines) == 4)
        (found,) = await made.latest()
        assert states(found) == ["queued", "sent", "acknowledged", "applied"]
        assert found.as_dict()["reason"] == "60 %"
        assert [line["text"] for line in chain.lines] == states(found)
        assert {(line["node"], line["sensor"], line["command"], line["wanted"]) for line in chain.lines} == {
            ("kitchen", "command/light", "one", "60.0")
        }
        assert made.status()["open"] == 0
        assert made.status()["by_state"]["applied"] == 1


async def test_it_waits_for_a_node_that_sleeps(tmp_path: Path):
    courier = Memory()
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await asyncio.sleep(0.1)
        assert courier.carried == []
        courier.nodes.add("kitchen")
        made.arrived("kitchen")
        await until(lambda: len(courier.carried) == 1)


async def test_a_courier_that_says_nothing_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desk, "ASK_SECONDS", 0.05)
    courier = Memory()
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await asyncio.sleep(0.1)
        courier.nodes.add("kitchen")
        await until(lambda: len(courier.carried) == 1)


async def test_a_step_costs_what_is_due_and_not_all_that_waits(tmp_path: Path):
    class Counting(Memory):
        asked = 0

        def reaches(self, node: str) -> bool:
            self.asked += 1
            return super().reaches(node)

    book = Book(tmp_path / "commands.db")
    for number in range(300):
        book.add(Command.new(light(id=f"waits-{number}", node=f"absent-{number}"), time.time()))
    book.close()
    courier = Counting("kitchen")
    async with running(tmp_path, courier) as made:
        await until(lambda: courier.asked == 300)
        for number in range(10):
            await made.submit(light(id=str(number)))
            await until(lambda: len(courier.carried) == number + 1)  # noqa: B023 - awaited before it changes
            await made.report("kitchen", str(number), State.APPLIED)
        assert courier.asked < 300 + 10 * 5


async def test_commands_wait_together_for_a_node_that_is_not_there_after_all(tmp_path: Path):
    courier = Memory("kitchen")
    courier.answer = NotReachedError("gone")
    for number in range(5):
        async with running(tmp_path) as made:
            await made.submit(light(id=str(number), target=str(number)))
    async with running(tmp_path, courier) as made:
        await until(lambda: len(courier.carried) == 1)
        await asyncio.sleep(0.1)
        assert [command.id for command in courier.carried] == ["0"]
        courier.answer = State.SENT
        made.arrived("kitchen")
        await until(lambda: made.status()["by_state"]["sent"] == 5)
        assert [command.id for command in courier.carried[1:]] == [str(number) for number in range(5)]


async def test_it_survives_the_relay(tmp_path: Path):
    async with running(tmp_path) as made:
        await made.submit(light(id="one"))
        await made.submit(light(id="two", target="shutter", value="down"))
    courier, chain = Memory("kitchen"), Chain()
    async with running(tmp_path, courier, chain) as made:
        await until(lambda: len(courier.carried) == 2)
        assert [command.id for command in courier.carried] == ["one", "two"]
        assert courier.carried[1].value == "down"
        await until(lambda: {line["command"] for line in chain.lines if line["text"] == "sent"} == {"one", "two"})


async def test_the_chain_is_told_again_what_it_had_not_stored(tmp_path: Path):
    chain = Chain()
    chain.stores = False
    async with running(tmp_path, chain=chain) as made:
        await made.submit(light(id="one"))
        await until(lambda: len(chain.lines) == 1)
        await asyncio.sleep(0.1)
        assert len(chain.lines) == 1
        assert made.status()["untold"] == 1
    again = Chain()
    async with running(tmp_path, chain=again) as made:
        assert made.status()["untold"] == 1
        await until(lambda: made.status()["untold"] == 0)
    assert again.lines == chain.lines
    third = Chain()
    async with running(tmp_path, chain=third):
        await asyncio.sleep(0.1)
    assert third.lines == []


async def test_a_chain_that_stores_nothing_is_told_no_more_than_it_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(desk, "TELL_AT_ONCE", 3)
    held: list[tuple[str, Callable[[], None]]] = []

    class Full(Chain):
        def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
            held.append((command.id, done))

    async with running(tmp_path, chain=Full()) as made:
        for number in range(10):
            await made.submit(light(id=str(number), target=str(number)))
            await asyncio.sleep(0.01)
        assert [identifier for identifier, _ in held] == ["0", "1", "2"]
        for index in range(10):
            await until(lambda: len(held) > index)  # noqa: B023 - awaited before it changes
            held[index][1]()
        assert [identifier for identifier, _ in held] == [str(number) for number in range(10)]


async def test_the_same_command_twice_is_one(tmp_path: Path):
    async with running(tmp_path) as made:
        first = await made.submit(light(id="one"))
        assert await made.submit(light(id="one")) == first
        with pytest.raises(CommandConflictError, match="one"):
            await made.submit(light(70.0, id="one"))
        assert len(await made.latest()) == 1


async def test_a_later_command_to_a_target_waits_for_the_earlier(tmp_path: Path):
    courier = Memory("kitchen")
    async with running(tmp_path, courier) as made:
        for identifier, target in (("one", "light"), ("two", "light"), ("three", "shutter")):
            await made.submit(light(id=identifier, target=target))
        await until(lambda: len(courier.carried) == 2)
        await asyncio.sleep(0.1)
        assert {command.id for command in courier.carried} == {"one", "three"}
        await made.report("kitchen", "one", State.ACKNOWLEDGED)
        await until(lambda: len(courier.carried) == 3)


async def test_what_is_not_acknowledged_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desk, "REPEAT_SECONDS", (0.05,))
    courier, chain = Memory("kitchen"), Chain()
    async with running(tmp_path, courier, chain) as made:
        await made.submit(light(id="one"))
        await until(lambda: len(courier.carried) >= 3)
        await made.report("kitchen", "one", State.ACKNOWLEDGED)
        count = len(courier.carried)
        await asyncio.sleep(0.2)
        assert len(courier.carried) <= count + 1
        assert [line["text"] for line in chain.lines] == ["queued", "sent", "acknowledged"]


async def test_a_node_that_returns_is_sent_it_at_once(tmp_path: Path):
    courier = Memory("kitchen")
    courier.answer = NotReachedError("gone")
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await until(lambda: len(courier.carried) == 1)
        assert await state_of(made, "one") is State.QUEUED
        courier.answer = State.SENT
        made.arrived("kitchen")
        await until(lambda: len(courier.carried) == 2)


async def test_what_a_courier_did_not_foresee_costs_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(desk, "REPEAT_SECONDS", (0.05,))
    courier = Memory("kitchen")
    courier.answer = ZeroDivisionError()
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await made.submit(light(id="two", target="shutter"))
        await until(lambda: {"one", "two"} <= {command.id for command in courier.carried})
        assert made.status()["by_state"]["queued"] == 2
        courier.answer = State.SENT
        await until(lambda: made.status()["by_state"]["sent"] == 2)
    assert "could not be carried to kitchen" in caplog.text


async def test_a_slow_node_holds_up_no_other(tmp_path: Path):
    courier = Memory("kitchen", "office")
    courier.blocked.add("kitchen")
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await made.submit(light(id="two", node="office"))
        await until(lambda: [command.id for command in courier.carried] == ["two"])


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.APPLIED])
async def test_a_transport_that_knows_more_says_so(tmp_path: Path, state: State):
    courier = Memory("kitchen")
    courier.answer = state
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await until(lambda: made.status()["by_state"][str(state)] == 1)


async def test_a_refusal_ends_it_with_the_reason(tmp_path: Path):
    courier = Memory("kitchen")
    courier.answer = RefusedError("4.05 Method Not Allowed")
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await until(lambda: made.status()["open"] == 0)
        (found,) = await made.latest(state="refused")
        assert found.steps[-1].reason == "4.05 Method Not Allowed"


@pytest.mark.parametrize("reached", [False, True])
async def test_its_time_runs_out(tmp_path: Path, reached: bool):
    async with running(tmp_path, Memory(*["kitchen"] * reached)) as made:
        await made.submit(light(id="one", ttl=0.2))
        await until(lambda: made.status()["open"] == 0)
        (found,) = await made.latest()
        assert found.state is State.EXPIRED
        assert ("acknowledge" in found.steps[-1].reason) is reached


async def test_cancelling(tmp_path: Path):
    async with running(tmp_path) as made:
        await made.submit(light(id="one"))
        assert (await made.cancel("one", "changed my mind")).state is State.CANCELLED
        with pytest.raises(CommandError, match="cancelled"):
            await made.cancel("one")
        with pytest.raises(UnknownCommandError, match="two"):
            await made.cancel("two")


async def test_a_word_that_overtakes_the_transport_s_comes_after_it_all_the_same(tmp_path: Path):
    courier = Memory("kitchen")
    courier.blocked.add("kitchen")
    other = Memory("kitchen")
    other.protocol = "other"
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await until(lambda: courier.begun == 1)
        # What reaches the node by now is not what the command went by.
        courier.nodes.clear()
        made.attach(other)
        assert await made.report("kitchen", "one", State.ACKNOWLEDGED)
        (command,) = await made.latest()
        assert [step.state for step in command.steps] == [State.QUEUED, State.SENT, State.ACKNOWLEDGED]
        assert command.steps[1].reason == "memory"


async def test_reports_that_are_no_news(tmp_path: Path):
    courier = Memory("kitchen")
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one"))
        await until(lambda: len(courier.carried) == 1)
        assert not await made.report("office", "one", State.APPLIED)
        assert not await made.report("kitchen", "two", State.APPLIED)
        assert await made.report("kitchen", "one", State.FAILED, "the bulb is broken")
        assert not await made.report("kitchen", "one", State.APPLIED)


async def test_the_desk_can_be_full(tmp_path: Path):
    made = Desk(Book(tmp_path / "commands.db"), Chain(), most_open=1)
    async with made.closing():
        await made.submit(light(id="one"))
        with pytest.raises(DeskFullError, match="1 commands"):
            await made.submit(light(id="two"))
        assert await made.submit(light(id="one"))


async def test_a_disk_that_refuses_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    courier = Memory("kitchen")
    monkeypatch.setattr(desk, "RETRY_SECONDS", 0.05)
    async with running(tmp_path, courier) as made:
        await made.submit(light(id="one", ttl=0.3))
        await until(lambda: len(courier.carried) == 1)
        with monkeypatch.context() as full:

            def refuse(*_: object) -> None:
                raise sqlite3.OperationalError("database or disk is full")

            full.setattr(Book, "step", refuse)
            with pytest.raises(CommandError, match="disk is full"):
                await made.report("kitchen", "one", State.ACKNOWLEDGED)
            await until(lambda: made.status()["error"] is not None)
            assert made.status()["open"] == 1
        await until(lambda: made.status()["open"] == 0)
        assert made.status()["error"] is None
        assert await state_of(made, "one") is State.EXPIRED


def test_the_oldest_ended_commands_go(tmp_path: Path):
    book = Book(tmp_path / "commands.db", kept=2)
    for number in range(5):
        book.add(Command.new(light(id=str(number)), float(number)))
        book.told([2 * number + 1])
        book.step(str(number), Step(10.0 + number, State.APPLIED))
        book.told([2 * number + 2])
    book.add(Command.new(light(id="open"), 0.0))
    assert [command.id for command in book.latest()] == ["4", "3", "open"]
    assert [command.id for command in book.open()] == ["open"]
    book.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"node": "a b", "target": "light"}', "node"),
        ('{"node": "kitchen"}', "target"),
        ('{"node": "kitchen", "target": "light", "ttl": -1}', "ttl=-1"),
        ('{"node": "kitchen", "target": "light", "value": [1]}', "value=[1]"),
        ('{"node": "kitchen", "target": "light", "colour": "red"}', "colour='red'"),
        ("{", "command"),
        ("null", "command"),
        ("5", "command"),
        ('"node"', "command"),
        ("[]", "command"),
    ],
)
def test_a_bad_command_is_told_by_field(text: str, told: str):
    with pytest.raises(CommandError) as refused:
        CommandRequest.from_json(text)
    assert told in str(refused.value)


@pytest.mark.parametrize("value", [60.0, True, "down", None])
def test_values_keep_their_kind(tmp_path: Path, value: float | str | bool | None):
    book = Book(tmp_path / "commands.db")
    book.add(Command.new(CommandRequest.from_json(orjson.dumps({"node": "n", "target": "t", "value": value})), 1.0))
    found = book.open()[0].value
    assert (found, type(found)) == (value, type(value))
    book.close()


def test_no_book_where_there_can_be_none(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxUnavailableError, match="can't be opened"):
        Book(tmp_path / "file" / "commands.db")
