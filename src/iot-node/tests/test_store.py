import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_node.errors import StoreError
from iot_node.store import Store

ROOM = 1000


def test_what_was_added_is_there_after_a_reopening(tmp_path: Path):
    with Store(tmp_path / "s", ROOM) as store:
        for _ in range(3):
            store.add(["a", "b"], lambda numbers: repr(numbers).encode())
    with Store(tmp_path / "s", ROOM) as store:
        assert [pack.body for pack in store.after(0, 10)] == [repr({"a": n, "b": n}).encode() for n in range(3)]
        assert store.count == 3
        store.add(["a"], lambda numbers: repr(numbers).encode())
        assert store.after(0, 10)[-1].body == b"{'a': 3}"


def test_numbers_go_on_after_all_packs_are_acknowledged(tmp_path: Path):
    with Store(tmp_path / "s", ROOM) as store:
        store.add(["a"], lambda numbers: repr(numbers).encode())
        store.remove([pack.id for pack in store.after(0, 10)])
        assert (store.count, store.bytes) == (0, 0)
    with Store(tmp_path / "s", ROOM) as store:
        store.add(["a"], lambda numbers: repr(numbers).encode())
        (pack,) = store.after(0, 10)
        assert pack.body == b"{'a': 1}"
        assert pack.id == 2, "an identifier is not used again, so a late acknowledgement can't hit another pack"


def test_a_pack_that_can_not_be_written_uses_no_number(tmp_path: Path):
    def fail(_: object) -> bytes:
        raise ValueError("no")

    with Store(tmp_path / "s", ROOM) as store:
        with pytest.raises(ValueError, match="no"):
            store.add(["a"], fail)
        store.add(["a"], lambda numbers: repr(numbers).encode())
        assert store.after(0, 10)[0].body == b"{'a': 0}"


def test_after_pages_through(tmp_path: Path):
    with Store(tmp_path / "s", ROOM) as store:
        for _ in range(5):
            store.add(["a"], lambda numbers: b"%d" % numbers["a"])
        first = store.after(0, 2)
        assert [pack.body for pack in first] == [b"0", b"1"]
        assert [pack.body for pack in store.after(first[-1].id, 9)] == [b"2", b"3", b"4"]


def test_when_it_is_full_the_oldest_go(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with Store(tmp_path / "s", ROOM) as store:
        for _ in range(12):
            store.add(["a"], lambda numbers: b"%d" % numbers["a"] + b"." * 200)
        kept = [int(pack.body.strip(b".")) for pack in store.after(0, 99)]
        assert kept == [8, 9, 10, 11]
        assert store.dropped == 8
        assert store.bytes <= ROOM
        store.remove([1, 2])  # acknowledged after they were dropped
        assert store.count == 4
    assert caplog.text.count("dropping the oldest") == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.one_of(st.integers(1, 600), st.none()), max_size=40))
def test_its_books_agree_with_the_file(tmp_path_factory: pytest.TempPathFactory, steps: list[int | None]):
    """A number adds a pack of that size, None acknowledges the oldest."""
    path = tmp_path_factory.mktemp("store") / "s"
    with Store(path, ROOM) as store:
        added = acknowledged = 0
        for step in steps:
            if step is None:
                oldest = store.after(0, 1)
                store.remove([pack.id for pack in oldest])
                acknowledged += len(oldest)
            else:
                store.add(["a"], lambda _, size=step: b"." * size)
                added += 1
            assert store.bytes <= ROOM
        assert store.count == added - acknowledged - store.dropped
        count, size = store.count, store.bytes
    with Store(path, ROOM) as store:
        assert (store.count, store.bytes) == (count, size)


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "s").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="move it away"):
        Store(tmp_path / "s", ROOM)


def test_a_database_that_can_not_be_written_is_named(tmp_path: Path):
    with Store(tmp_path / "s", ROOM) as store:
        store.add(["a"], lambda _: b"1")
        other = sqlite3.connect(tmp_path / "s")
        other.execute("DROP TABLE pack")
        other.close()
        with pytest.raises(StoreError, match="can't write"):
            store.add(["a"], lambda _: b"2")
        with pytest.raises(StoreError, match="can't write"):
            store.remove([1])
        with pytest.raises(StoreError, match="can't read"):
            store.after(0, 1)
