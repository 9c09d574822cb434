"""Kills of a relay that is sending newest first: nothing is lost, and what comes twice is within the window."""

import asyncio
import contextlib
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from fakes import FakeSender

from iot_gateway.forwarder import Forwarder, Order, Resend
from iot_gateway.interfaces import Envelope, Frame, Outcome, Position
from iot_gateway.outbox.disk import DiskOutbox
from iot_gateway.outbox.options import DiskOptions
from iot_gateway.packer import Limits

BATCH, WINDOW, ROUNDS = 7, 6, 12
OPTIONS = DiskOptions(max_bytes=2**22, segment_bytes=2**16)


def plain(body: bytes, _count: int, start: Position) -> Envelope:
    return Envelope(body, repr(start), "key", 0, "text/plain")


class Broker(FakeSender):
    """Confirms after a while, not in order; the link comes and goes."""

    def __init__(self, chance: random.Random):
        super().__init__(ready=False)
        self.chance = chance
        self.arrived: Counter[bytes] = Counter()
        self.losses = 0
        """Times that the link was lost, or the relay killed."""

    def settle_some(self) -> None:
        for envelope, done in self.sent:
            self.arrived.update(envelope.body.splitlines())
            # A link that breaks after the message came, and before the confirm did.
            done(Outcome.CONFIRMED if self.ready or self.chance.random() < 0.5 else Outcome.LOST)
        self.sent.clear()


async def live(directory: Path, broker: Broker, first: int, resend: Resend) -> int:
    """Run an outbox and its forwarder for a while; return the number of what would be stored next."""
    outbox = DiskOutbox(directory, OPTIONS)
    forwarder = Forwarder("lane", outbox, Limits(BATCH, 10**6, 0.001), plain, broker, WINDOW, resend)
    task = asyncio.create_task(forwarder.run())
    number = first
    for _ in range(broker.chance.randint(3, 12)):
        size = broker.chance.randint(1, 9)
        await outbox.append([Frame(size, b"".join(b"%d\n" % (number + k) for k in range(size)))])
        number += size
        forwarder.wake()
        if broker.chance.random() < 0.3:
            broker.losses += broker.ready
            broker.ready = not broker.ready
            broker.on_change()
        await asyncio.sleep(0.002)
        if broker.chance.random() < 0.6:
            broker.settle_some()
    # The files as a kill at this moment leaves them.
    shutil.copytree(directory, directory.with_name(f"{directory.name}+"))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    outbox.close()
    # What is on its way arrives all the same.
    for envelope, _ in broker.sent:
        broker.arrived.update(envelope.body.splitlines())
    broker.sent.clear()
    broker.losses += 1
    broker.ready = False
    return number


async def drain(directory: Path, broker: Broker) -> None:
    outbox = DiskOutbox(directory, OPTIONS)
    broker.ready = True
    forwarder = Forwarder("lane", outbox, Limits(BATCH, 10**6, 0.001), plain, broker, WINDOW, Resend())
    task = asyncio.create_task(forwarder.run())
    async with asyncio.timeout(30):
        while outbox.status()["entries"]:
            broker.settle_some()
            await asyncio.sleep(0.002)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    outbox.close()


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
@pytest.mark.parametrize("seed", range(4))
def test_kills_lose_nothing_and_repeat_at_most_the_window(tmp_path: Path, order: Order, seed: int):
    broker = Broker(random.Random(seed))
    directory = tmp_path / "0"
    number = 0
    for _ in range(ROUNDS):
        number = asyncio.run(live(directory, broker, number, Resend(order)))
        directory = directory.with_name(f"{directory.name}+")
    asyncio.run(drain(directory, broker))
    assert set(broker.arrived) == {b"%d" % index for index in range(number)}
    repeated = sum(broker.arrived.values()) - number
    print(f"{order}: {number} stored, {broker.losses} losses, {repeated} repeated")
    assert repeated <= broker.losses * WINDOW * BATCH
