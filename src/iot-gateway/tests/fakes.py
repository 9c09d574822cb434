"""What stands in for transports and disks in the tests of the core."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from iot_gateway.errors import OutboxError
from iot_gateway.interfaces import (
    Confirmed,
    Core,
    Done,
    Envelope,
    Frame,
    Listener,
    Options,
    Outbox,
    Outcome,
    Position,
    Sender,
    Stored,
    Uplink,
)
from iot_gateway.outbox.progress import Progress, from_start, without


class MemoryOutbox(Outbox):
    """An outbox without a disk; one frame an offset."""

    Options = Options

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.head = self.tail = Position(1, 0, 0)
        self.gaps = 1
        self.refusals: list[OutboxError] = []
        self.confirmed: list[Confirmed] = []
        self.confirm_error: OSError | None = None
        self.appends = 0
        self._unconfirmed = from_start(self.head)

    async def append(self, frames: Sequence[Frame]) -> None:
        self.appends += 1
        if self.refusals:
            raise self.refusals.pop(0)
        self.frames += frames
        self.tail = Position(1, len(self.frames), 0)

    def read(self, position: Position) -> Stored | None:
        position = self._unconfirmed.next(position)
        if position.offset >= len(self.frames):
            return None
        return Stored(self.frames[position.offset], position, Position(1, position.offset + 1, 0))

    async def confirm(self, parts: Sequence[Confirmed]) -> None:
        if self.confirm_error is not None:
            error, self.confirm_error = self.confirm_error, None
            raise error
        self.confirmed += parts
        gaps = list(self._unconfirmed.gaps)
        for begin, end, _ in parts:
            gaps = without(gaps, begin, end)
        self._unconfirmed = Progress(tuple(gaps))
        self.head, self.gaps = gaps[0][0], len(gaps)

    def holds(self, position: Position) -> bool:
        return any(a < position <= b for a, b in self._unconfirmed.gaps)

    async def expire(self) -> None:
        pass

    def configure(self, options: Any) -> None:
        self.options = options

    def close(self) -> None:
        pass

    def status(self) -> dict[str, Any]:
        return {"entries": sum(frame.entries for frame in self.frames), "confirmed_total": 0, "oldest_seconds": 0.0}

    @property
    def lines(self) -> list[bytes]:
        return [line for frame in self.frames for line in frame.body.splitlines()]


class FakeSource:
    """A connection of a listener."""

    def __init__(self) -> None:
        self.acknowledged: list[Any] = []
        self.reasons: list[str] = []
        self.reading = True

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        self.acknowledged += tokens

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True

    def refused(self, token: Any, reason: str) -> Any:
        self.reasons.append(reason)
        return token


class FakeSender(Sender):
    """An uplink's lane that notes what is sent; a test settles it."""

    def __init__(self, ready: bool = True) -> None:
        self.ready = ready
        self.on_change: Callable[[], None] = lambda: None
        self.sent: list[tuple[Envelope, Done]] = []

    def publish(self, envelope: Envelope, done: Done) -> None:
        self.sent.append((envelope, done))

    def settle(self, outcome: Outcome, *indexes: int) -> None:
        for index in indexes:
            self.sent[index][1](outcome)


class FakeListener(Listener):
    """A listener that a test speaks through."""

    class Options(Options):
        name: str = "x"
        password: str = ""
        fail: bool = False
        breaks: Literal["", "made", "configured"] = ""

    made: ClassVar[list["FakeListener"]] = []

    def __init__(self, options: Any, core: Core):
        if options.breaks == "made":
            raise RuntimeError("this listener can't be made")
        self.options = options
        self.intake = core.intake
        self.nodes = core.nodes
        self.state = core.state
        self.source = FakeSource()
        self.running = self.quiet = self.drains = False
        self.made.append(self)

    def configure(self, options: Any) -> bool:
        if options.breaks == "configured":
            raise RuntimeError("this listener can't follow")
        return super().configure(options)

    async def run(self) -> None:
        self.running = True
        if self.options.fail:
            raise RuntimeError("a fault that nobody foresaw")
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False

    def quiesce(self) -> None:
        self.quiet = True

    @property
    def draining(self) -> bool:
        return self.drains

    def status(self) -> dict[str, Any]:
        return {"connected": self.running, "error": None}


class FakeUplink(Uplink):
    """An uplink that confirms at once, unless it is told to hold."""

    class Options(Options):
        password: str = ""
        hold: bool = False
        breaks: bool = False

    made: ClassVar[list["FakeUplink"]] = []

    def __init__(self, options: Any, gateway: str, lanes: Sequence[str]):
        if options.breaks:
            raise RuntimeError("this uplink can't be made")
        self.gateway = gateway
        self.lanes = {lane: (FakeSender if options.hold else ConfirmingSender)() for lane in lanes}
        self.senders = dict(self.lanes)
        self.made.append(self)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def status(self) -> dict[str, Any]:
        return {"connected": True, "error": None}


class ConfirmingSender(FakeSender):
    def publish(self, envelope: Envelope, done: Done) -> None:
        super().publish(envelope, done)
        asyncio.get_running_loop().call_soon(done, Outcome.CONFIRMED)
