"""Whatever is appended, confirmed in pieces, dropped and cut short by kills: the outbox holds what it has to."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from iot_gateway.errors import OutboxFullError
from iot_gateway.interfaces import Confirmed, Frame, Position
from iot_gateway.outbox.disk import DiskOutbox
from iot_gateway.outbox.options import DiskOptions

MAX_AGE = 100.0


class Entry(NamedTuple):
    """An entry as the outbox has it."""

    number: int
    begin: Position
    end: Position


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a list of what it must hold, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.now = 1000.0
        self.count = 0
        self.held: list[tuple[int, float]] = []
        """Number and time of storage of what is neither confirmed nor dropped."""
        self.confirmed = 0
        self.dropped = {"bytes": 0, "age": 0}
        self.copies = 0

    @initialize(full=st.sampled_from(["refuse", "drop-oldest"]), max_age=st.sampled_from([0.0, MAX_AGE]))
    def open_first(self, full: Any, max_age: float) -> None:
        self.options = DiskOptions(max_bytes=2**20, segment_bytes=2**16, full=full, max_age=max_age)
        self.open(self.directory / "0")

    def open(self, directory: Path) -> None:
        self.outbox = DiskOutbox(directory, self.options, wall=lambda: self.now, monotonic=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
        shutil.rmtree(self.directory)

    @rule(frames=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 12_000)), min_size=1, max_size=4))
    def append(self, frames: list[tuple[int, int]]) -> None:
        made: list[Frame] = []
        number = self.count
        for entries, padding in frames:
            lines = [b"%d %s\n" % (number + index, b"x" * padding) for index in range(entries)]
            number += entries
            made.append(Frame(entries, b"".join(lines)))
        before = self.status()["dropped_total"]["bytes"]
        try:
            asyncio.run(self.outbox.append(made))
        except OutboxFullError:
            # Segments are as large as a group, so a group fits once the oldest have gone.
            assert self.options.full == "refuse"
            return
        gone = self.status()["dropped_total"]["bytes"] - before
        assert gone == 0 or self.options.full == "drop-oldest"
        self.dropped["bytes"] += gone
        del self.held[:gone]
        self.held += [(index, self.clock()) for index in range(self.count, number)]
        self.count = number

    def clock(self) -> float:
        """Return the time by which the outbox reckons ages; it is behind if the system's clock was at a start."""
        return self.outbox._clock.now_ms() / 1000

    def entries(self) -> list[Entry]:
        """Read all that is not confirmed."""
        found: list[Entry] = []
        position = self.outbox.head
        while (stored := self.outbox.read(position)) is not None:
            numbers = [int(line.split()[0]) for line in stored.frame.body.splitlines()]
            segment, offset, skip = stored.start
            for index, number in enumerate(numbers[skip:], skip):
                end = stored.end if index + 1 == len(numbers) else Position(segment, offset, index + 1)
                found.append(Entry(number, Position(segment, offset, index), end))
            position = stored.end
        return found

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """Confirm what one parcel may hold: it begins where a gap or a frame does, and stays in one segment."""
        entries = self.entries()
        begins = [
            index
            for index, entry in enumerate(entries)
            if not entry.begin.skip or not index or entries[index - 1].end != entry.begin
        ]
        first = last = data.draw(st.sampled_from(begins))
        most = data.draw(st.integers(1, 20))
        while last + 1 < len(entries) and last - first + 1 < most and entries[last + 1].begin == entries[last].end:
            last += 1
        part = Confirmed(entries[first].begin, entries[last].end, last - first + 1)
        asyncio.run(self.outbox.confirm([part]))
        del self.held[first : last + 1]
        self.confirmed += part.entries

    @rule(seconds=st.integers(1, 60))
    def grow_old(self, seconds: int) -> None:
        self.now += seconds
        asyncio.run(self.outbox.expire())
        if self.options.max_age:
            # A frame that is confirmed in part goes as a whole: all of it is as old.
            young = [(number, stored) for number, stored in self.held if stored >= self.clock() - MAX_AGE]
            self.dropped["age"] += len(self.held) - len(young)
            self.held = young

    @rule(back=st.integers(0, 10_000))
    def restart(self, back: int) -> None:
        """Also by a clock that went back."""
        directory = self.outbox._directory
        self.outbox.close()
        self.outbox = DiskOutbox(directory, self.options, wall=lambda: self.now - back, monotonic=lambda: self.now)

    @rule(torn=st.binary(max_size=40))
    def kill(self, torn: bytes) -> None:
        """Go on with what a kill would leave, and half of a write."""
        self.copies += 1
        copy = self.directory / str(self.copies)
        shutil.copytree(self.outbox._directory, copy)
        self.outbox.close()
        segments = sorted(copy.glob("*.segment"))
        if segments:
            with segments[-1].open("ab") as file:
                file.write(torn)
        self.open(copy)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def kill_before_files_are_deleted(self, data: st.DataObject) -> None:
        self.outbox._delete = lambda segments: None
        self.confirm(data)
        self.kill(b"")

    def status(self) -> dict[str, Any]:
        return self.outbox.status()

    @invariant()
    def holds_what_it_has_to(self) -> None:
        if not hasattr(self, "outbox"):
            return
        entries = self.entries()
        assert [entry.number for entry in entries] == [number for number, _ in self.held]
        status = self.status()
        assert (status["entries"], status["confirmed_total"]) == (len(self.held), self.confirmed)
        assert status["dropped_total"] == self.dropped
        files = list(self.outbox._directory.glob("*.segment"))
        assert status["used_bytes"] == sum(path.stat().st_size for path in files) <= self.options.max_bytes
        assert not list(self.outbox._directory.glob("*.damaged"))
        needed = {entry.begin.segment for entry in entries}
        there = {int(path.stem) for path in files}
        # Beside those that hold something there may be the one being written, and one that was when it began.
        assert needed <= there
        assert len(there - needed) <= 2


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
