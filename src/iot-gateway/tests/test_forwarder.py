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


NEWEST_FIRST = Resend("newest-first")


async def link(setup: Setup, ready: bool) -> None:
    setup.sender.ready = ready
    setup.sender.on_change()
    await settled()


async def confirm_all(setup: Setup) -> None:
    """Confirm whatever is sent until nothing more is."""
    done = 0
    while done < len(setup.sender.sent):
        setup.sender.settle(Outcome.CONFIRMED, *range(done, len(setup.sender.sent)))
        done = len(setup.sender.sent)
        await settled(0.03)


def test_oldest_first_what_waited_goes_before_what_comes():
    async def test(setup: Setup) -> None:
        await setup.store(b"a", b"b", b"c")
        await link(setup, True)
        await setup.store(b"live")
        assert setup.sent == [b"a", b"b"]
        await confirm_all(setup)
        assert setup.sent == [b"a", b"b", b"c", b"live"]
        assert setup.outbox.gaps == 1

    run(test, window=2, ready=False)


def test_newest_first_what_comes_goes_before_what_waited(caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")

    async def test(setup: Setup) -> None:
        await setup.store(*(b"old-%d" % number for number in range(6)))
        await link(setup, True)
        # Half of the window is kept for what is live, so it need not wait for confirms of the other half.
        assert setup.sent == [b"old-0", b"old-1"]
        await setup.store(b"live-0", b"live-1", b"live-2")
        assert setup.sent == [b"old-0", b"old-1", b"live-0", b"live-1"]
        setup.sender.settle(Outcome.CONFIRMED, 0, 2)
        await settled()
        assert setup.sent[4:] == [b"live-2", b"old-2"]
        assert setup.outbox.gaps == 2
        assert setup.forwarder.status()["backlog"]
        await confirm_all(setup)
        assert sorted(set(setup.sent)) == sorted(setup.sent)
        assert len(setup.sent) == 9
        assert (setup.outbox.gaps, setup.outbox.head) == (1, setup.outbox.tail)
        assert not setup.forwarder.status()["backlog"]

    run(test, window=4, ready=False, resend=NEWEST_FIRST)
    assert caplog.text.count("all that waited for the uplink is sent") == 1


def test_outages_while_there_is_a_backlog_make_more_of_it():
    async def test(setup: Setup) -> None:
        await setup.store(b"a", b"b")
        await link(setup, True)
        await setup.store(b"c")
        # In flight are a, of the backlog, and c, which is live; then the link is lost again.
        assert setup.sent == [b"a", b"c"]
        setup.sender.settle(Outcome.CONFIRMED, 1)
        await settled()
        setup.sender.ready = False
        setup.sender.settle(Outcome.LOST, 0)
        await setup.store(b"d", b"e")
        await link(setup, True)
        await setup.store(b"f")
        assert setup.sent[2:] == [b"a", b"f"]
        await confirm_all(setup)
        assert setup.sent[2:] == [b"a", b"f", b"b", b"d", b"e"]
        assert (setup.outbox.gaps, setup.outbox.head) == (1, setup.outbox.tail)

    run(test, window=2, ready=False, resend=NEWEST_FIRST)


def test_what_waited_is_sent_at_the_rate_that_is_allowed():
    async def test(setup: Setup) -> None:
        await setup.store(*(b"old-%d" % number for number in range(8)))
        begin = asyncio.get_running_loop().time()
        await link(setup, True)
        await setup.store(b"live")
        assert setup.sent == [b"old-0", b"live"]
        while len(setup.sent) < 5:
            await settled()
        assert 0.14 < asyncio.get_running_loop().time() - begin < 0.6
        # Without a bound the rest goes at once.
        setup.forwarder.configure(Limits(1, 1000, 0.01), plain, 100, NEWEST_FIRST)
        await settled(0.03)
        assert len(setup.sent) == 9

    run(test, window=100, ready=False, resend=Resend("newest-first", 20))


def test_links_that_come_and_go_leave_a_bounded_number_of_stretches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_STRETCHES", 5)

    async def test(setup: Setup) -> None:
        for number in range(12):
            await setup.store(b"waited-%d" % number, b"waited-as-well-%d" % number)
            await link(setup, True)
            await setup.store(b"live-%d" % number)
            for index in range(len(setup.sender.sent)):
                if setup.sent[index].startswith(b"live"):
                    setup.sender.settle(Outcome.CONFIRMED, index)
            await settled()
            assert setup.outbox.gaps <= 6
            setup.sender.ready = False
            await link(setup, False)
        await link(setup, True)
        await confirm_all(setup)
        assert setup.outbox.head == setup.outbox.tail

    setup = run(test, window=4, ready=False, resend=NEWEST_FIRST)
    assert set(setup.sent) == set(setup.outbox.lines)


def test_it_tells_of_the_link_and_how_long_confirms_take():
    seen: list[bool] = []

    async def test(setup: Setup) -> None:
        setup.forwarder.on_link = seen.append
        await link(setup, True)
        await setup.store(b"a")
        setup.sender.settle(Outcome.CONFIRMED, 0)
        await link(setup, False)
        assert sum(setup.forwarder.latency.counts) == 1
        assert 0 < setup.forwarder.latency.sum < 5

    run(test, ready=False)
    assert seen == [True, False]
