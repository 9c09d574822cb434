"""The disk outbox: order, durability, bounds, and what it makes of damage."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from iot_gateway.errors import OutboxFullError, OutboxUnavailableError
from iot_gateway.interfaces import END, Confirmed, Frame, Position
from iot_gateway.outbox.checkpoint import MAX_GAPS, Checkpoint
from iot_gateway.outbox.disk import DiskOutbox
from iot_gateway.outbox.frames import MAGIC
from iot_gateway.outbox.options import DiskOptions
from iot_gateway.outbox.progress import Progress

SMALL = DiskOptions(max_bytes=2**20, segment_bytes=2**16)


def frame(*lines: str) -> Frame:
    return Frame(len(lines), "".join(f"{line}\n" for line in lines).encode())


def contents(outbox: DiskOutbox) -> list[str]:
    found: list[str] = []
    position = outbox.head
    while (stored := outbox.read(position)) is not None:
        found += stored.frame.body.decode().splitlines()[stored.start.skip :]
        position = stored.end
    return found


def append(outbox: DiskOutbox, *frames: Frame) -> None:
    asyncio.run(outbox.append(frames))


def advance(outbox: DiskOutbox, position: Position, confirmed: int) -> None:
    asyncio.run(outbox.confirm([Confirmed(outbox.head, position, confirmed)]))


@pytest.fixture
def outbox(tmp_path: Path) -> Any:
    made = DiskOutbox(tmp_path / "lane", SMALL)
    yield made
    made.close()


def reopened(outbox: DiskOutbox) -> DiskOutbox:
    outbox.close()
    outbox.__init__(outbox._directory, SMALL)
    return outbox


def killed(outbox: DiskOutbox, target: Path) -> Path:
    """Return a copy of the files as a kill at this moment would leave them."""
    shutil.copytree(outbox._directory, target)
    return target


def test_entries_come_back_in_order(outbox: DiskOutbox):
    append(outbox, frame("a", "b"), frame("c"))
    append(outbox, frame("d"))
    assert contents(outbox) == ["a", "b", "c", "d"]
    assert outbox.status()["entries"] == 4


def test_what_is_confirmed_is_gone_also_after_a_kill(outbox: DiskOutbox, tmp_path: Path):
    append(outbox, frame("a", "b", "c"), frame("d"))
    advance(outbox, outbox.head._replace(skip=2), 2)
    assert contents(outbox) == ["c", "d"]
    copy = DiskOutbox(killed(outbox, tmp_path / "copy"), SMALL)
    assert contents(copy) == ["c", "d"]
    assert (copy.status()["entries"], copy.status()["confirmed_total"]) == (2, 2)
    copy.close()


def test_bytes_are_those_that_are_not_confirmed_wherever_they_lie(outbox: DiskOutbox):
    ends = [outbox.head]
    for line in ("a", "b" * 1000, "c" * 100):
        append(outbox, frame(line))
        ends.append(outbox.tail)
    whole = outbox.status()["bytes"]
    assert whole == ends[3].offset - len(MAGIC)
    asyncio.run(outbox.confirm([Confirmed(ends[1], ends[2], 1)]))
    assert outbox.status()["bytes"] == whole - (ends[2].offset - ends[1].offset)
    asyncio.run(outbox.confirm([Confirmed(ends[0], ends[1], 1), Confirmed(ends[2], ends[3], 1)]))
    assert outbox.status()["bytes"] == 0


def test_a_torn_end_is_cut_off_wherever_it_tears(outbox: DiskOutbox, tmp_path: Path):
    append(outbox, frame("first"))
    append(outbox, frame("second"))
    (segment,) = outbox._directory.glob("*.segment")
    whole = segment.read_bytes()
    end_of_first = whole.index(b"first\n") + len(b"first\n")
    for length in range(len(whole) + 1):
        copy = killed(outbox, tmp_path / f"copy-{length}")
        (copy / segment.name).write_bytes(whole[:length])
        opened = DiskOutbox(copy, SMALL)
        kept = ["first", "second"][: (length >= end_of_first) + (length == len(whole))]
        assert contents(opened) == kept, length
        append(opened, frame("next"))
        assert contents(opened) == [*kept, "next"]
        opened.close()


def test_a_kill_right_after_a_segment_was_begun(outbox: DiskOutbox, tmp_path: Path):
    append(outbox, frame("before"))
    copy = killed(outbox, tmp_path / "copy")
    (copy / "0000000000000002.segment").write_bytes(MAGIC)
    (copy / "0000000000000003.segment").write_bytes(MAGIC[:5])
    opened = DiskOutbox(copy, SMALL)
    append(opened, frame("after"))
    assert contents(opened) == ["before", "after"]
    assert opened.status()["error"] is None
    assert list(copy.glob("*.damaged")) == []
    opened.close()


@pytest.mark.parametrize("at", [13, 17, 21, 25, 34])
def test_a_changed_byte_in_the_last_frame_is_noticed(outbox: DiskOutbox, tmp_path: Path, at: int):
    append(outbox, frame("only"))
    copy = killed(outbox, tmp_path / "copy")
    (segment,) = copy.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[at] ^= 0x40
    segment.write_bytes(data)
    opened = DiskOutbox(copy, SMALL)
    assert contents(opened) == []
    opened.close()


def fill(outbox: DiskOutbox, segments: int) -> list[str]:
    lines: list[str] = []
    while len(list(outbox._directory.glob("*.segment"))) < segments:
        line = f"{len(lines):08d}" + "x" * 8000
        append(outbox, frame(line))
        lines.append(line)
    return lines


def test_segments_are_deleted_once_they_are_confirmed(outbox: DiskOutbox):
    lines = fill(outbox, 3)
    assert contents(outbox) == lines
    position, count = outbox.head, 0
    while (stored := outbox.read(position)) is not None and stored.start.segment < 3:
        position, count = stored.end, count + 1
    advance(outbox, position, count)
    outbox.read(position)
    advance(outbox, outbox.tail, len(lines) - count)
    assert [path.name for path in outbox._directory.glob("*.segment")] == ["0000000000000003.segment"]
    assert (outbox.status()["entries"], outbox.status()["bytes"], outbox.status()["oldest_seconds"]) == (0, 0, 0.0)


def test_a_start_deletes_what_was_confirmed_and_goes_on_in_a_new_segment(outbox: DiskOutbox):
    lines = fill(outbox, 2)
    outbox._checkpoint.save(Progress(((Position(2, 13, 0), END),), len(lines) - 1))
    reopened(outbox)
    assert contents(outbox) == lines[-1:]
    append(outbox, frame("new"))
    assert contents(outbox) == [lines[-1], "new"]
    assert len(list(outbox._directory.glob("*.segment"))) == 2


def test_full_is_full_and_there_is_room_again_after_confirms(outbox: DiskOutbox):
    big = frame("x" * 60_000)
    stored = 2**20 // 60_100
    for _ in range(stored):
        append(outbox, big)
    with pytest.raises(OutboxFullError, match="may hold 1048576 bytes"):
        append(outbox, big)
    used = sum(path.stat().st_size for path in outbox._directory.glob("*.segment"))
    assert used <= SMALL.max_bytes
    assert len(contents(outbox)) == stored
    advance(outbox, outbox.tail, stored)
    append(outbox, frame("again"))
    assert contents(outbox) == ["again"]


def test_bounds_can_be_changed(outbox: DiskOutbox):
    outbox.configure(DiskOptions(max_bytes=2**21, segment_bytes=2**16))
    for _ in range(20):
        append(outbox, frame("x" * 60_000))
    assert outbox.status()["max_bytes"] == 2**21


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_disk_that_refuses_leaves_nothing_half_stored(
    outbox: DiskOutbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: str
):
    append(outbox, frame("before"))
    real: Callable[..., Any] = getattr(os, call)
    refusals = 1

    def refuse(descriptor: int, *arguments: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            if call == "write":
                real(descriptor, arguments[0][:7])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, *arguments)

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OutboxUnavailableError, match="No space left"):
        append(outbox, frame("refused"))
    assert "No space left" in outbox.status()["error"]
    assert contents(outbox) == ["before"]
    append(outbox, frame("after"))
    assert outbox.status()["error"] is None
    assert contents(outbox) == ["before", "after"]
    copy = DiskOutbox(killed(outbox, tmp_path / "copy"), SMALL)
    assert contents(copy) == ["before", "after"]
    copy.close()


def test_a_segment_that_can_not_be_begun(outbox: DiskOutbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "write", lambda *_: 3)
    with pytest.raises(OutboxUnavailableError, match="No space left"):
        append(outbox, frame("refused"))
    monkeypatch.undo()
    assert list(outbox._directory.glob("*.segment")) == []
    append(outbox, frame("after"))
    assert contents(outbox) == ["after"]


def test_a_segment_that_the_disk_spoiled_is_kept_and_the_next_goes_on(outbox: DiskOutbox):
    lines = fill(outbox, 2)
    first = outbox._files.path(1)
    data = bytearray(first.read_bytes())
    data[20_000] ^= 1
    first.write_bytes(data)
    found = contents(outbox)
    assert found == [*lines[:2], lines[-1]]
    assert "damaged" in outbox.status()["error"]
    assert outbox.status()["entries"] == 3
    assert first.with_suffix(".damaged").read_bytes() == bytes(data)
    advance(outbox, outbox.tail, 3)
    assert outbox.status()["entries"] == 0
    assert first.with_suffix(".damaged").exists()


def test_without_a_checkpoint_everything_is_sent_again_rather_than_lost(outbox: DiskOutbox):
    append(outbox, frame("a"), frame("b"))
    advance(outbox, outbox.tail, 2)
    (outbox._directory / "checkpoint").write_bytes(b"rubbish")
    reopened(outbox)
    assert contents(outbox) == ["a", "b"]


def test_a_directory_is_for_one_process(outbox: DiskOutbox):
    with pytest.raises(OutboxUnavailableError, match="in use by another relay"):
        DiskOutbox(outbox._directory, SMALL)


def test_a_directory_that_can_not_be(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(OutboxUnavailableError, match="file"):
        DiskOutbox(tmp_path / "file" / "lane", SMALL)


def test_the_oldest_is_as_old_as_it_is_whatever_the_system_s_clock_does(tmp_path: Path):
    wall, monotonic = 1_000_000.0, 50.0
    outbox = DiskOutbox(tmp_path / "lane", SMALL, wall=lambda: wall, monotonic=lambda: monotonic)
    append(outbox, frame("a"))
    wall, monotonic = 10.0, 110.0
    assert outbox.status()["oldest_seconds"] == 60.0
    outbox.close()
    # Started again by a clock that is before what was stored: nothing is older than nothing.
    again = DiskOutbox(tmp_path / "lane", SMALL, wall=lambda: wall, monotonic=lambda: monotonic)
    assert again.status()["oldest_seconds"] == 0.0
    again.close()


def test_a_checkpoint_survives_the_loss_of_either_slot(tmp_path: Path):
    path = tmp_path / "checkpoint"
    checkpoint = Checkpoint(path)
    assert checkpoint.progress is None
    saved = [
        Progress(((Position(number, 13, 0), Position(number, 99, 0)), (Position(number + 1, 13, number), END)), number)
        for number in range(4)
    ]
    for progress in saved[1:]:
        checkpoint.save(progress)
    checkpoint.close()
    whole = path.read_bytes()
    for slot, expected in ((1, 2), (0, 3)):
        data = bytearray(whole)
        data[slot * 4096 + 3] ^= 0xFF
        path.write_bytes(data)
        again = Checkpoint(path)
        assert again.progress == saved[expected]
        again.close()


def test_more_gaps_than_a_checkpoint_has_room_for_are_fewer_and_larger(tmp_path: Path):
    gaps = tuple((Position(number, 13, 0), Position(number, 14, 0)) for number in range(1, 300))
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    checkpoint.save(Progress((*gaps, (Position(300, 13, 0), END))))
    checkpoint.close()
    again = Checkpoint(tmp_path / "checkpoint")
    assert again.progress is not None
    assert again.progress.gaps[:-1] == gaps[: MAX_GAPS - 1]
    assert again.progress.gaps[-1] == (gaps[MAX_GAPS - 1][0], END)
    again.close()


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="quarter"):
        DiskOptions(max_bytes=2**20, segment_bytes=2**20)


DROPPING = replace(SMALL, full="drop-oldest")


def test_a_full_outbox_drops_its_oldest_segments_if_it_is_told_to(outbox: DiskOutbox):
    outbox.configure(DROPPING)
    lines = [f"{number:08d}" + "x" * 60_000 for number in range(40)]
    for line in lines:
        append(outbox, frame(line))
    status = outbox.status()
    assert status["dropped_total"] == {"bytes": 40 - status["entries"], "age": 0}
    assert contents(outbox) == lines[-status["entries"] :]
    reopened(outbox)
    assert outbox.status()["dropped_total"] == status["dropped_total"]
    with pytest.raises(OutboxFullError):
        append(outbox, *(frame("x" * 60_000) for _ in range(20)))
    assert contents(outbox) == lines[-status["entries"] :], "nothing is dropped for what has no room even then"


def test_what_is_on_its_way_when_it_is_dropped_is_dropped_and_confirmed(outbox: DiskOutbox):
    outbox.configure(DROPPING)
    append(outbox, frame("a", "b" * 70_000), frame("c"))
    sent = Confirmed(outbox.head, outbox.tail, 3)
    for number in range(20):
        append(outbox, frame(f"{number:08d}" + "x" * 60_000))
    held = outbox.status()["entries"]
    assert outbox.status()["dropped_total"]["bytes"] == 23 - held
    asyncio.run(outbox.confirm([sent]))
    assert (outbox.status()["entries"], outbox.status()["confirmed_total"]) == (held, 3)


def test_a_full_disk_makes_it_drop_as_well(outbox: DiskOutbox, monkeypatch: pytest.MonkeyPatch):
    lines = fill(outbox, 4)
    room = sum(path.stat().st_size for path in outbox._directory.glob("*.segment")) - 2 * 2**16
    real = os.fdatasync

    def refuse(descriptor: int) -> None:
        # A checkpoint needs no space.
        of_segment = str(Path(f"/proc/self/fd/{descriptor}").readlink()).endswith(".segment")
        if of_segment and sum(path.stat().st_size for path in outbox._directory.glob("*.segment")) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(OutboxUnavailableError):
        append(outbox, frame("refused"))
    assert contents(outbox) == lines
    outbox.configure(DROPPING)
    append(outbox, frame("taken"))
    found = contents(outbox)
    assert found[-1] == "taken"
    assert 0 < outbox.status()["dropped_total"]["bytes"] == len(lines) + 1 - len(found)


def test_nothing_is_dropped_that_can_not_be_counted(outbox: DiskOutbox, monkeypatch: pytest.MonkeyPatch):
    outbox.configure(DROPPING)
    lines = fill(outbox, 3)
    outbox.configure(DiskOptions(max_bytes=2**20, segment_bytes=2**16, full="drop-oldest", max_age=0.001))

    def fail(_: Progress) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(outbox._checkpoint, "save", fail)
    big = frame("x" * 60_000)
    while outbox.status()["used_bytes"] + 61_000 < 2**20:
        append(outbox, big)
    with pytest.raises(OutboxUnavailableError, match="Input/output error"):
        append(outbox, big)
    with pytest.raises(OSError, match="Input/output error"):
        asyncio.run(outbox.expire())
    assert contents(outbox)[: len(lines)] == lines
    assert outbox.status()["dropped_total"] == {"bytes": 0, "age": 0}


def test_what_is_too_old_goes_frame_by_frame(tmp_path: Path):
    now = 1000.0
    options = replace(SMALL, max_age=10.0)
    outbox = DiskOutbox(tmp_path / "lane", options, wall=lambda: 0.0, monotonic=lambda: now)
    for number in range(30):
        append(outbox, frame(f"{number}", "x" * 9000))
        now += 1
    advance(outbox, outbox.head._replace(segment=1, skip=1), 1)
    asyncio.run(outbox.expire())
    assert contents(outbox)[::2] == [f"{number}" for number in range(20, 30)]
    assert outbox.status()["dropped_total"] == {"bytes": 0, "age": 39}
    assert min(int(path.stem) for path in outbox._directory.glob("*.segment")) > 1
    now += 100
    asyncio.run(outbox.expire())
    assert (contents(outbox), outbox.status()["oldest_seconds"]) == ([], 0.0)
    asyncio.run(outbox.expire())
    append(outbox, frame("young"))
    assert contents(outbox) == ["young"]
    outbox.close()
