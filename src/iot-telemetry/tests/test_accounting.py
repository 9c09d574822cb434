"""What arrived, what came twice, what is missing."""

import dataclasses
import random
import sys

from hypothesis import given
from hypothesis import strategies as st

from iot_telemetry import Reading
from iot_telemetry.accounting import Account, NodeReport, SequenceSet


def reading(node: str, seq: int | None, sensor: str = "x") -> Reading:
    return Reading(1.0, "s", "g", node, sensor, "", 1.0, None, None, seq, 1.0)


def test_counts_by_node_over_its_sensors():
    account = Account()
    for seq in (0, 1, 2, 2, 5):
        account.add(reading("a", seq))
    account.add(reading("a", 0, sensor="y"))
    account.add(reading("b", None))
    account.add(reading("b", None))
    assert account.report() == {"a": NodeReport(5, 1, 2), "b": NodeReport(2, 0, 0)}
    distinct, duplicates, lost = account.report()["a"]
    assert (distinct, duplicates, lost) == (5, 1, 2)


def test_commands_are_no_readings():
    account = Account()
    account.add(dataclasses.replace(reading("a", None, "command/light"), value=None, text="applied", command="one"))
    assert account.report() == {}


def test_a_missing_beginning_is_a_loss():
    account = Account()
    account.add(reading("a", 10))
    assert account.report()["a"] == NodeReport(1, 0, 10)


@given(st.lists(st.integers(0, 60), max_size=200), st.integers(0, 70))
def test_a_sequence_set_counts_as_a_set_does(numbers: list[int], first: int):
    ours, theirs = SequenceSet(), set[int]()
    for number in numbers:
        assert ours.add(number) == (number not in theirs)
        theirs.add(number)
    assert len(ours) == len(theirs)
    assert ours.duplicates == len(numbers) - len(theirs)
    assert ours.highest == max(theirs, default=None)
    assert ours.missing() == len(set(range(max(theirs, default=-1) + 1)) - theirs)
    assert ours.missing(first) == len(set(range(first, max(theirs, default=-1) + 1)) - theirs)


def test_a_million_nearly_ordered_numbers_take_no_memory():
    numbers = list(range(1_000_000))
    shuffler = random.Random(1)
    for start in range(0, len(numbers), 1000):
        block = numbers[start : start + 1000]
        shuffler.shuffle(block)
        numbers[start : start + 1000] = block
    seen = SequenceSet()
    for number in numbers:
        seen.add(number)
    assert (len(seen), seen.missing()) == (1_000_000, 0)
    assert sys.getsizeof(seen._starts) < 100_000
