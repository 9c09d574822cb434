"""A small charm of the shared shape, run by ops."""

from collections.abc import Iterator

import ops
import pytest
from ops import testing

from iot_charm import progress
from iot_charm.base import ReconcilingCharm, action, failing_with
from iot_charm.errors import InvalidConfigError, IotCharmError
from iot_charm.interfaces.databag import Databag

META = {"name": "lamp", "requires": {"power": {"interface": "power"}}}
CONFIG = {"options": {"watts": {"type": "int", "default": 10}}}
ACTIONS = {"test": {"params": {"fault": {"type": "string", "default": ""}}}, "measure": {}}


class Wants(Databag):
    wants: str


class LampCharm(ReconcilingCharm[int]):
    applied: list[tuple[int, bool]]
    fault = ""

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.follow_relations("power")
        framework.observe(self.on.test_action, self._on_test)
        framework.observe(self.on.measure_action, self._on_measure)

    def load_state(self) -> int:
        watts = int(self.config["watts"])
        if watts < 0:
            raise InvalidConfigError(f"watts={watts}: must not be negative")
        return watts

    def ask(self) -> None:
        self.publish("power", Wants(wants="yes"))

    def apply(self, state: int, *, restart: bool) -> None:
        if self.fault:
            raise IotCharmError(self.fault)
        if state != 10:
            progress.announce("Starting lamp")
        self.applied.append((state, restart))

    def statuses(self, state: int) -> Iterator[ops.StatusBase]:
        if not self.model.relations["power"]:
            yield ops.BlockedStatus("Missing required power relation")
        yield ops.ActiveStatus(f"{state} W")

    @action
    def _on_test(self, event: ops.ActionEvent) -> None:
        if event.params.get("fault"):
            raise IotCharmError(event.params["fault"])
        self.reconcile(restart=True)
        event.set_results({"watts": self.load_state()})

    @failing_with(OSError)
    def _on_measure(self, event: ops.ActionEvent) -> None:
        if not self.load_state():
            raise ZeroDivisionError
        raise OSError("no meter")


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> testing.Context[LampCharm]:
    monkeypatch.setattr(LampCharm, "applied", [], raising=False)
    monkeypatch.setattr(LampCharm, "fault", "")
    return testing.Context(LampCharm, meta=META, config=CONFIG, actions=ACTIONS)


def test_events_end_in_one_reconcile_and_the_gravest_status(context: testing.Context[LampCharm]):
    state = context.run(context.on.install(), testing.State())
    assert LampCharm.applied == [(10, False)]
    assert state.unit_status == testing.BlockedStatus("Missing required power relation")


@pytest.mark.parametrize("event", ["created", "changed", "departed", "broken"])
def test_whatever_happens_to_a_relation_reconciles(context: testing.Context[LampCharm], event: str):
    power = testing.Relation("power", remote_units_data={0: {}})
    state = context.run(
        getattr(context.on, f"relation_{event}")(power), testing.State(relations={power}, config={"watts": 5})
    )
    assert LampCharm.applied == [(5, False)]
    asked = state.get_relation(power.id).local_unit_data.get("wants")
    assert asked == (None if event == "broken" else '"yes"')


def test_who_departs_is_known(context: testing.Context[LampCharm]):
    power = testing.Relation("power", remote_app_name="plant", remote_units_data={0: {}, 1: {}})
    with context(
        context.on.relation_departed(power, remote_unit=1, departing_unit=1), testing.State(relations={power})
    ) as manager:
        assert manager.charm.departing is None
        manager.run()
        assert manager.charm.departing is not None
        assert manager.charm.departing.name == "plant/1"


def test_a_unit_that_is_as_it_should_be_shows_no_change(context: testing.Context[LampCharm]):
    power = testing.Relation("power", remote_units_data={0: {}})
    active = testing.State(relations={power}, unit_status=testing.ActiveStatus("10 W"))
    context.run(context.on.update_status(), active)
    assert {status.name for status in context.unit_status_history} <= {"active"}
    context.run(context.on.config_changed(), testing.State(relations={power}, config={"watts": 5}))
    assert testing.MaintenanceStatus("Starting lamp") in context.unit_status_history


def test_a_bad_option_blocks_and_nothing_is_applied(context: testing.Context[LampCharm]):
    state = context.run(context.on.config_changed(), testing.State(config={"watts": -1}))
    assert LampCharm.applied == []
    assert state.unit_status == testing.BlockedStatus("watts=-1: must not be negative")


def test_what_an_operator_must_mend_blocks(context: testing.Context[LampCharm], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LampCharm, "fault", "the socket is missing")
    state = context.run(context.on.update_status(), testing.State())
    assert state.unit_status == testing.BlockedStatus("the socket is missing")


def test_a_bug_fails_the_hook(context: testing.Context[LampCharm], monkeypatch: pytest.MonkeyPatch):
    def broken(self: LampCharm, state: int, *, restart: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(LampCharm, "apply", broken)
    with pytest.raises(testing.errors.UncaughtCharmError):
        context.run(context.on.start(), testing.State())


def test_actions_reconcile_and_fail_with_the_reason(context: testing.Context[LampCharm]):
    context.run(context.on.action("test"), testing.State())
    assert context.action_results == {"watts": 10}
    assert LampCharm.applied == [(10, True)]
    with pytest.raises(testing.ActionFailed, match="the bulb is broken"):
        context.run(context.on.action("test", params={"fault": "the bulb is broken"}), testing.State())


def test_an_action_fails_with_the_errors_that_are_named_for_it_and_no_others(context: testing.Context[LampCharm]):
    with pytest.raises(testing.ActionFailed, match="no meter"):
        context.run(context.on.action("measure"), testing.State())
    with pytest.raises(testing.ActionFailed, match="watts=-1"):
        context.run(context.on.action("measure"), testing.State(config={"watts": -1}))
    with pytest.raises(testing.errors.UncaughtCharmError):
        context.run(context.on.action("measure"), testing.State(config={"watts": 0}))
