"""Parcels through the uplink: in order, within the window, each until it is confirmed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import FakeSender, MemoryOutbox

from iot_gateway import forwarder as module
from iot_gateway.forwarder import Forwarder, Resend
from iot_gateway.interfaces import Envelope, Frame, Outcome, Position
from iot_gateway.packer import Limits


def plain(body: bytes, _count: int, start: Position) -> Envelope:
    return Envelope(body, repr(start), "key", 0, "text/plain")


AS_IT_COMES = Resend()


class Setup:
    def __init__(self, entries: int = 1, window: int = 3, resend: Resend = AS_IT_COMES, ready: bool = True) -> None:
        self.outbox = MemoryOutbox()
        self.sender = FakeSender(ready)
        limits = Limits(entries, 1000, 0.01)
        self.forwarder = Forwarder("lane", self.outbox, limits, plain, self.sender, window, resend)

    async def store(self, *lines: bytes) -> None:
        await self.outbox.append([Frame(1, line + b"\n") for line in lines])
        self.forwarder.wake()
        await settled()

    @property
    def sent(self) -> list[bytes]:
        return [envelope.body.strip() for envelope, _ in self.sender.sent]


async def settled(seconds: float = 0.005) -> None:
    await asyncio.sleep(seconds)


def run(test: Callable[[Setup], Awaitable[None]], **settings: Any) -> Setup:
    async def inside() -> Setup:
        setup = Setup(**settings)
        task = asyncio.create_task(setup.forwarder.run())
        await settled()
        try:
            await test(setup)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return setup

    return asyncio.run(inside())


def test_the_window_bounds_what_is_sent_and_the_checkpoint_follows_the_confirms():
    async def test(setup: Setup) -> None:
        await setup.store(b"a", b"b", b"c", b"d")
        assert setup.sent == [b"a", b"b", b"c"]
        setup.sender.settle(Outcome.CONFIRMED, 1)
        await settled()
        # The first is not confirmed, so the checkpoint can't move and neither can the window.
        assert setup.outbox.confirmed == []
        assert setup.sent == [b"a", b"b", b"c"]
        setup.sender.settle(Outcome.CONFIRMED, 0)
        await settled()
        assert [part.end for part in setup.outbox.confirmed] == [Position(1, 1, 0), Position(1, 2, 0)]
        assert setup.sent == [b"a", b"b", b"c", b"d"]

    setup = run(test)
    assert setup.forwarder.confirmed == 2
    assert setup.forwarder.status()["messages_in_flight"] == 2


def test_a_batch_that_is_not_full_is_sent_when_it_is_old():
    async def test(setup: Setup) -> None:
        await setup.store(b"a")
        assert setup.sent == []
        await settled(0.03)
        assert setup.sent == [b"a"]

    run(test, entries=10)


def test_a_lost_link_sends_again_in_order_when_it_is_back():
    async def test(setup: Setup) -> None:
        await setup.store(b"a", b"b")
        setup.sender.ready = False
        setup.sender.settle(Outcome.LOST, 0, 1)
        await settled()
        assert setup.sent == [b"a", b"b"]
        setup.sender.ready = True
        setup.sender.on_change()
        await settled()
        assert setup.sent == [b"a", b"b", b"a", b"b"]
        # An answer of the broken link that comes late means nothing.
        setup.sender.settle(Outcome.LOST, 0)
        await settled()
        assert len(setup.sent) == 4
        setup.sender.settle(Outcome.CONFIRMED, 2, 3)
        await settled()

    setup = run(test)
    assert (setup.forwarder.confirmed, setup.forwarder.resent) == (2, 2)


@pytest.mark.parametrize("outcome", [Outcome.UNROUTABLE, Outcome.REFUSED])
def test_what_is_not_taken_is_kept_shown_and_sent_again(outcome: Outcome, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.02,))

    async def test(setup: Setup) -> None:
        await setup.store(b"a")
        setup.sender.settle(outcome, 0)
        await settled()
        assert setup.sent == [b"a"]
        assert setup.forwarder.status()["error"] == f"{outcome.value}: key"
        await settled(0.04)
        assert setup.sent == [b"a", b"a"]
        setup.sender.settle(Outcome.CONFIRMED, 1)
        await settled()
        assert setup.forwarder.status()["error"] is None

    assert run(test).forwarder.confirmed == 1


def test_another_sender_gets_what_the_former_did_not_confirm():
    async def test(setup: Setup) -> None:
        await setup.store(b"a")
        other = FakeSender()
        setup.forwarder.use(other)
        await settled()
        assert [envelope.body for envelope, _ in other.sent] == [b"a\n"]
        setup.sender.settle(Outcome.CONFIRMED, 0)
        await settled()
        assert setup.outbox.confirmed == []
        other.settle(Outcome.CONFIRMED, 0)
        await settled()
        assert len(setup.outbox.confirmed) == 1

    run(test)


def test_a_checkpoint_that_can_not_be_saved_is_tried_again():
    async def test(setup: Setup) -> None:
        setup.outbox.confirm_error = OSError("bad disk")
        await setup.store(b"a")
        setup.sender.settle(Outcome.CONFIRMED, 0)
        await settled(0.05)
        assert "bad disk" in (setup.forwarder.error or "")
        assert setup.forwarder.confirmed == 0
        await settled(1.1)
        assert setup.forwarder.confirmed == 1
        assert setup.forwarder.error is None

    run(test)


def test_drain_waits_for_what_is_in_flight_but_not_for_ever():
    async def test(setup: Setup) -> None:
        await setup.store(b"a")
        await setup.forwarder.drain(0.05)
        assert setup.forwarder.confirmed == 0
        asyncio.get_running_loop().call_later(0.02, setup.sender.settle, Outcome.CONFIRMED, 0)
        await setup.forwarder.drain(5)
        assert setup.forwarder.confirmed == 1

    run(test)
