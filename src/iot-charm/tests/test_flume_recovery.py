"""What recovery makes of the files that it finds."""

import gzip
from dataclasses import dataclass, field
from typing import Any

import pytest

from iot_charm.flume.recovery import Recovery
from iot_charm.flume.store import Entry, StoreError

DAY = "/user/flume/flume-rabbitmq/2026-11-24"
WHOLE = gzip.compress(b'{"seq":1}\n') + gzip.compress(b'{"seq":2}\n')
TORN = WHOLE + gzip.compress(b'{"seq":3}\n')[:-5]


@dataclass
class MemoryStore:
    """A file system in memory; stands in for HDFS."""

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    held: dict[str, int] = field(default_factory=dict[str, int])
    """Path -> how many more times it is found open."""
    modified: int = 1000
    listed: list[str] = field(default_factory=list[str])
    broken: bool = False

    def list(self, path: str) -> list[Entry]:
        if self.broken:
            raise StoreError("HDFS is not there")
        self.listed.append(path)
        found: dict[str, Entry] = {}
        for name, data in self.files.items():
            if name.startswith(f"{path}/"):
                first, _, below = name.removeprefix(f"{path}/").partition("/")
                found[first] = Entry(
                    f"{path}/{first}", bool(below), len(data), self.modified, "644", 1, "flume", "supergroup"
                )
        return sorted(found.values(), key=lambda entry: entry.name)

    def take(self, path: str) -> bool:
        self.held[path] = self.held.get(path, 0) - 1
        return self.held[path] < 0

    def length(self, path: str) -> int:
        return len(self.files[path])

    def exists(self, path: str) -> bool:
        return path in self.files

    def read(self, path: str, offset: int, length: int) -> bytes:
        return self.files[path][offset : offset + length]

    def chunks(self, path: str):
        yield self.files[path]

    def truncate(self, path: str, length: int) -> None:
        self.files[path] = self.files[path][:length]
        self.modified += 1

    def rename(self, source: str, destination: str) -> None:
        assert destination not in self.files
        self.files[destination] = self.files.pop(source)
        self.modified += 1

    def delete(self, path: str) -> None:
        del self.files[path]
        self.modified += 1


def recovery(store: Any, live: str = "now", unit: str = "flume-hdfs-0", open_for_s: float = 0) -> Recovery:
    return Recovery(store, root="/user/flume", unit=unit, live=lambda: live, open_for_s=open_for_s, clock=lambda: 1.0)


def test_an_orphan_gets_its_final_name_without_its_torn_end():
    store = MemoryStore({f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp": TORN})
    done = recovery(store).run(0)
    assert store.files == {f"{DAY}/FlumeData.17.gz": WHOLE}
    assert (done.published, done.cut, done.pending) == (1, 1, [])


def test_a_whole_orphan_is_not_cut():
    store = MemoryStore({f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp": WHOLE})
    done = recovery(store).run(0)
    assert store.files == {f"{DAY}/FlumeData.17.gz": WHOLE}
    assert done.cut == 0


@pytest.mark.parametrize("content", [b"", TORN[len(WHOLE) :]], ids=["empty", "nothing whole"])
def test_an_orphan_without_a_whole_batch_is_deleted(content: bytes):
    store = MemoryStore({f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp": content})
    assert recovery(store).run(0).deleted == 1
    assert store.files == {}


@pytest.mark.parametrize(
    "name",
    [
        "_flume-hdfs-0.now.FlumeData.17.gz.tmp",
        "_flume-hdfs-1.before.FlumeData.17.gz.tmp",
        "_flume-hdfs-00.before.FlumeData.17.gz.tmp",
        "_temporary",
        "_SUCCESS",
    ],
)
def test_files_of_the_running_agent_and_of_others_are_left_alone(name: str):
    store = MemoryStore({f"{DAY}/{name}": TORN})
    recovery(store).run(0)
    assert store.files == {f"{DAY}/{name}": TORN}


def test_a_file_that_the_agent_gave_up_on_is_an_orphan():
    store = MemoryStore({f"{DAY}/_flume-hdfs-0.now.FlumeData.17.gz.tmp": WHOLE}, modified=-1)
    recovery(store).run(-1000)
    assert list(store.files) == [f"{DAY}/FlumeData.17.gz"]


def test_the_last_file_of_a_stopped_agent_is_an_orphan():
    store = MemoryStore({f"{DAY}/_flume-hdfs-0.last.FlumeData.17.gz.tmp": WHOLE})
    recovery(store, live="").run(0)
    assert list(store.files) == [f"{DAY}/FlumeData.17.gz"]


def test_a_finished_file_that_lost_its_writer_is_cut_in_place():
    store = MemoryStore({f"{DAY}/FlumeData.17.gz": TORN, f"{DAY}/FlumeData.18.gz": b""})
    done = recovery(store).run(0)
    assert store.files == {f"{DAY}/FlumeData.17.gz": WHOLE}
    assert (done.cut, done.deleted, done.published) == (1, 1, 0)


def test_a_file_that_is_still_held_is_looked_at_again():
    path = f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp"
    store = MemoryStore({path: WHOLE}, held={path: 2})
    finder = recovery(store)
    assert finder.run(0).pending == [path]
    assert finder.run(0).pending == [path]
    assert finder.run(0).published == 1


def test_a_file_being_cut_is_published_once_the_cut_is_done():
    path = f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp"

    class Slow(MemoryStore):
        def truncate(self, path: str, length: int) -> None:
            super().truncate(path, length)
            self.held[path] = 1

    store = Slow({path: TORN})
    finder = recovery(store)
    assert finder.run(0).pending == [path]
    assert finder.run(0).published == 1
    assert store.files == {f"{DAY}/FlumeData.17.gz": WHOLE}


def test_a_taken_name_gives_way_to_the_next():
    store = MemoryStore(
        {f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp": WHOLE, f"{DAY}/FlumeData.17.gz": WHOLE + WHOLE}
    )
    recovery(store).run(0)
    assert store.files == {f"{DAY}/FlumeData.17.gz": WHOLE + WHOLE, f"{DAY}/FlumeData.18.gz": WHOLE}


def test_the_smoke_tests_directory_is_left_alone():
    path = "/user/flume/smoke-test/flume-hdfs-0/FlumeData.1.gz"
    store = MemoryStore({path: b"no gzip"})
    recovery(store).run(0)
    assert store.files == {path: b"no gzip"}


def test_a_directory_that_did_not_change_is_not_listed_again():
    store = MemoryStore({f"{DAY}/FlumeData.17.gz": WHOLE})
    finder = recovery(store)
    finder.run(0)
    finder.run(0)
    assert store.listed.count(DAY) == 1
    store.modified += 1
    finder.run(0)
    assert store.listed.count(DAY) == 2


def test_old_files_are_not_read():
    store = MemoryStore({f"{DAY}/FlumeData.17.gz": TORN})
    done = recovery(store).run(store.modified + 1)
    assert done.cut == 0
    assert store.files == {f"{DAY}/FlumeData.17.gz": TORN}


def test_one_file_that_hdfs_refuses_keeps_no_other_back():
    class Refusing(MemoryStore):
        def take(self, path: str) -> bool:
            if "17" in path:
                raise StoreError("refused")
            return True

    stuck = f"{DAY}/_flume-hdfs-0.before.FlumeData.17.gz.tmp"
    store = Refusing({stuck: WHOLE, f"{DAY}/_flume-hdfs-0.before.FlumeData.18.gz.tmp": WHOLE})
    done = recovery(store).run(0)
    assert done.pending == [stuck]
    assert set(store.files) == {stuck, f"{DAY}/FlumeData.18.gz"}


def test_hdfs_away_is_told():
    with pytest.raises(StoreError):
        recovery(MemoryStore(broken=True)).run(0)
