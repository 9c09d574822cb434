"""What is due when, and who gets what next."""

from hypothesis import given
from hypothesis import strategies as st

from iot_gateway.desk import Command, CommandRequest, State, Step
from iot_gateway.desk.deadlines import Deadlines
from iot_gateway.desk.lines import Lines


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.floats(0, 100))), st.floats(0, 100))
def test_deadlines_are_those_that_were_set_last(changes: list[tuple[str, float | None]], now: float):
    made, expected = Deadlines[str](), dict[str, float]()
    for key, time in changes:
        if time is None:
            made.discard(key)
            expected.pop(key, None)
        else:
            made.set(key, time)
            expected[key] = time
    assert made.next == min(expected.values(), default=float("inf"))
    due = {key: time for key, time in expected.items() if time <= now}
    assert made.take(now) == sorted(due, key=lambda key: (due[key], key))
    assert made.next == min((time for key, time in expected.items() if key not in due), default=float("inf"))
    assert made.due(now) is None


def test_deadlines_that_are_set_over_and_over_take_no_more_room():
    made = Deadlines[str]()
    for time in range(10_000):
        made.set("one", float(time))
    assert len(made._heap) < 100
    assert made.take(1e9) == ["one"]


def command(identifier: str, target: str = "light", node: str = "kitchen") -> Command:
    return Command.new(CommandRequest(id=identifier, node=node, target=target), 1.0)


def test_a_line_for_each_target_of_a_node():
    lines = Lines([command("1"), command("2"), command("3", "shutter"), command("4", node="office")])

    def go_on(identifier: str, state: State) -> None:
        lines.go_on(lines.open[identifier], Step(2.0, state))

    def head(target: str, node: str = "kitchen") -> str | None:
        found = lines.head(node, target)
        return found.command.id if found else None

    assert lines.nodes() == ["kitchen", "office"]
    assert lines.targets("kitchen") == ["light", "shutter"]
    assert (head("light"), head("shutter"), head("light", "office"), head("door")) == ("1", "3", "4", None)
    go_on("1", State.SENT)
    assert head("light") == "1"
    go_on("1", State.ACKNOWLEDGED)
    assert head("light") == "2"
    assert "1" in lines.open
    go_on("1", State.APPLIED)
    assert list(lines.open) == ["2", "3", "4"]
    lines.add(command("5"))
    go_on("2", State.CANCELLED)
    assert head("light") == "5"
    go_on("4", State.EXPIRED)
    assert lines.nodes() == ["kitchen"]
    assert lines.targets("office") == []


def test_what_a_node_has_is_under_way_and_waits_for_nothing():
    had = command("1").after(Step(2.0, State.ACKNOWLEDGED))
    lines = Lines([had, command("2")])
    assert list(lines.open) == ["1", "2"]
    found = lines.head("kitchen", "light")
    assert found is not None
    assert found.command.id == "2"
