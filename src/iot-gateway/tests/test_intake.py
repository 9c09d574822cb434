"""Payloads in, durable entries out; acknowledged after, and only after."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from fakes import FakeSource, MemoryOutbox

from iot_gateway import committer, intake
from iot_gateway.errors import OutboxFullError, OutboxUnavailableError
from iot_gateway.intake import RelayIntake
from iot_gateway.interfaces import Confirmed
from iot_telemetry import Reading

GOOD = b'[{"bn":"node-1/","bt":1800000000,"n":"t","u":"Cel","v":21.5,"seq":3},{"n":"on","vb":true}]'


class Setup:
    def __init__(self) -> None:
        self.telemetry, self.dead_letters = MemoryOutbox(), MemoryOutbox()
        self.intake = RelayIntake("site-1", "gw", self.telemetry, self.dead_letters)
        self.source = FakeSource()

    def offer(self, payload: bytes, token: Any = 1, node: str = "node-1") -> None:
        self.intake.offer(self.source, node, f"telemetry/{node}", payload, token)

    async def commit(self) -> None:
        await self.intake.telemetry.commit()
        await self.intake.dead_letters.commit()


def run(test: Callable[[Setup], Awaitable[None]]) -> Setup:
    async def inside() -> Setup:
        setup = Setup()
        await test(setup)
        return setup

    return asyncio.run(inside())


def test_a_pack_becomes_readings_and_is_acknowledged_once_they_are_durable():
    async def test(setup: Setup) -> None:
        setup.offer(GOOD, token=7)
        assert setup.source.acknowledged == []
        await setup.commit()

    setup = run(test)
    assert setup.source.acknowledged == [7]
    first, second = (Reading.from_line(line) for line in setup.telemetry.lines)
    assert (first.site, first.gateway, first.node, first.sensor, first.unit) == ("site-1", "gw", "node-1", "t", "Cel")
    assert (first.time, first.value, first.seq) == (1.8e9, 21.5, 3)
    assert (second.sensor, second.flag) == ("on", True)
    assert (setup.intake.received, setup.intake.readings, setup.intake.malformed) == (1, 2, 0)


@pytest.mark.parametrize(
    ("node", "payload", "reason"),
    [
        ("node-1", b"no", "not JSON"),
        ("", GOOD, "names no node"),
        ("node", GOOD, "node may not speak for node-1"),
        ("node-1", b'[{"n":"node-1","v":1}]', "has no sensor"),
        ("node-1", b'[{"n":"node-1/","v":1}]', "has no sensor"),
        ("node-1", b'[{"n":"node-1/t","v":1},{"n":"node-2/t","v":1}]', "may not speak for node-2"),
        ("node-1", b" " * 262145, "262145 bytes"),
    ],
)
def test_a_bad_payload_is_a_dead_letter_and_acknowledged(node: str, payload: bytes, reason: str):
    async def test(setup: Setup) -> None:
        setup.offer(payload, token=1, node=node)
        setup.offer(GOOD, token=2)
        await setup.commit()

    setup = run(test)
    assert sorted(setup.source.acknowledged) == [1, 2]
    assert len(setup.telemetry.lines) == 2
    (line,) = setup.dead_letters.lines
    assert reason in orjson.loads(line)["reason"]
    assert setup.intake.malformed == 1


def test_a_node_speaks_for_its_own_subnodes():
    async def test(setup: Setup) -> None:
        setup.offer(b'[{"n":"node-1:run/t","v":1}]')
        await setup.commit()

    assert Reading.from_line(run(test).telemetry.lines[0]).node == "node-1:run"


def test_many_messages_are_one_commit_and_frames_are_cut():
    async def test(setup: Setup) -> None:
        for token in range(800):
            setup.offer(GOOD, token)
        await setup.commit()
        assert setup.telemetry.appends == 1

    setup = run(test)
    assert setup.source.acknowledged == list(range(800))
    frames = setup.telemetry.frames
    assert sum(frame.entries for frame in frames) == 1600
    assert max(frame.entries for frame in frames) <= committer.FRAME_ENTRIES
    assert max(len(frame.body) for frame in frames) < committer.FRAME_BYTES + 1000


def test_what_the_transport_cannot_acknowledge_is_stored_all_the_same():
    async def test(setup: Setup) -> None:
        setup.offer(GOOD, token=None)
        await setup.commit()

    setup = run(test)
    assert setup.source.acknowledged == []
    assert len(setup.telemetry.lines) == 2


def test_nothing_is_acknowledged_while_the_outbox_refuses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.01,))

    async def test(setup: Setup) -> None:
        setup.telemetry.refusals = [OutboxUnavailableError("the disk is full")] * 3
        setup.offer(GOOD, token=1)
        setup.offer(b"bad", token=2)
        commit = asyncio.create_task(setup.intake.telemetry.commit())
        await asyncio.sleep(0)
        await setup.intake.dead_letters.commit()
        assert setup.source.acknowledged == [2]
        assert setup.intake.telemetry.refusal == "the disk is full"
        await commit

    setup = run(test)
    assert setup.source.acknowledged == [2, 1]
    assert setup.intake.telemetry.refusal is None


def test_more_than_there_is_room_for_goes_in_piece_by_piece(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(committer, "RETRY_SECONDS", (0.01,))

    async def test(setup: Setup) -> None:
        setup.telemetry.refusals = [OutboxFullError("full")] * 2
        for token in range(600):
            setup.offer(GOOD, token)
        await setup.commit()

    setup = run(test)
    assert len(setup.telemetry.lines) == 1200
    assert setup.telemetry.appends == 2 + 3
    assert len(setup.source.acknowledged) == 600


def test_listeners_pause_while_too_much_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake, "HIGH_WATER", 4 * len(GOOD))

    async def test(setup: Setup) -> None:
        for _ in range(4):
            setup.offer(GOOD)
        assert setup.source.reading
        assert setup.intake.refusal is None
        setup.offer(GOOD)
        assert not setup.source.reading
        assert setup.intake.refusal == "the disk does not keep up"
        await setup.commit()
        assert setup.source.reading
        assert setup.intake.refusal is None

    run(test)


def test_the_task_commits_what_comes():
    async def test(setup: Setup) -> None:
        commits: list[bool] = []
        setup.intake.telemetry.on_commit = lambda: commits.append(True)
        task = asyncio.create_task(setup.intake.telemetry.run())
        setup.offer(GOOD)
        while not setup.source.acknowledged:
            await asyncio.sleep(0)
        assert commits == [True]
        task.cancel()

    run(test)


def test_probes_are_followed():
    async def test(setup: Setup) -> None:
        probes = setup.intake.probes
        setup.offer(b'[{"n":"smoke-test:7/probe","vb":true}]', node="smoke-test")
        assert probes.states(setup.telemetry) == {}
        await setup.commit()
        assert probes.states(setup.telemetry) == {"smoke-test:7": "stored"}
        await setup.telemetry.confirm([Confirmed(setup.telemetry.head, setup.telemetry.tail, 1)])
        assert probes.states(setup.telemetry) == {"smoke-test:7": "confirmed"}
        setup.offer(b"bad", node="smoke-test")
        await setup.commit()
        assert probes.states(setup.telemetry)["smoke-test"] == "dead letter"
        for number in range(20):
            setup.offer(b'[{"n":"smoke-test:n%d/probe","vb":true}]' % number, node="smoke-test")
        await setup.commit()
        assert len(probes.states(setup.telemetry)) == 16

    run(test)
