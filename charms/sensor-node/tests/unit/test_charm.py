import dataclasses
import json

import pytest
from ops import testing

from charm import SensorNodeCharm
from iot_node.agent import Status

Context = testing.Context[SensorNodeCharm]


def test_without_a_relation_it_is_blocked(machine, context: Context):
    state = context.run(context.on.install(), testing.State())
    assert machine.installed
    assert not machine.is_running
    assert state.unit_status == testing.BlockedStatus("Missing required mqtt relation")


def test_it_asks_for_its_node_and_waits(machine, context: Context, unanswered: testing.Relation):
    state = context.run(context.on.relation_created(unanswered), testing.State(relations={unanswered}))
    assert json.loads(state.get_relation(unanswered.id).local_unit_data["node"]) == "sensor-node-0"
    assert state.unit_status == testing.WaitingStatus("Waiting for gateway")
    assert not machine.is_running


def test_it_runs_the_agent_for_the_gateway(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    settings = machine.settings
    assert machine.is_running
    assert (settings.host, settings.port, settings.topic_prefix) == ("10.1.2.3", 1883, "telemetry")
    assert (settings.node, settings.username, settings.password) == ("sensor-node-0", "sensor-node-0", "first")
    assert (settings.profiles, settings.actuators, settings.interval) == (("sensortag",), (), 5.0)
    assert state.unit_status == testing.ActiveStatus("Ready (sensortag every 5.0 s to gateway-0)")


def test_a_second_run_changes_nothing(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    context.run(context.on.update_status(), state)
    assert machine.starts == 1


def test_a_new_program_restarts_the_agent(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    machine.version = "2"
    context.run(context.on.upgrade_charm(), state)
    assert machine.starts == 2


def test_it_follows_a_new_password(machine, context: Context, served, answered, secret):
    state = context.run(context.on.relation_changed(answered), served)
    newer = dataclasses.replace(
        state.get_secret(id=secret.id),
        latest_content={"username": "sensor-node-0", "password": "second"},
    )
    context.run(context.on.secret_changed(newer), dataclasses.replace(state, secrets={newer}))
    assert machine.settings.password == "second"
    assert machine.starts == 2


def test_options_reach_the_agent_and_the_gateway(machine, context: Context, served, answered, secret):
    content = {"username": "attic", "password": "p"}
    named = dataclasses.replace(secret, tracked_content=content, latest_content=content)
    config = {"node_name": "attic", "profile": "sensortag, host", "interval": 0.5, "log_level": "debug"}
    state = context.run(context.on.config_changed(), dataclasses.replace(served, config=config, secrets={named}))
    assert json.loads(state.get_relation(answered.id).local_unit_data["node"]) == "attic"
    settings = machine.settings
    assert (settings.node, settings.profiles) == ("attic", ("sensortag", "host"))
    assert (settings.interval, settings.log_level) == (0.5, "debug")
    assert state.unit_status.message == "Ready (sensortag, host every 0.5 s to gateway-0)"


def test_actuators_reach_the_agent_and_show_in_the_status(machine, context: Context, served, answered):
    answered.remote_units_data[0]["commands_prefix"] = '"orders"'
    machine.told = Status(connected=True, actuators={"light": "60 %", "window": "35 %, going to 100 %"})
    config = {"actuators": " light, window:shutter"}
    state = context.run(context.on.config_changed(), dataclasses.replace(served, config=config))
    assert machine.settings.actuators == ("light", "window:shutter")
    assert machine.settings.commands_prefix == "orders"
    assert state.unit_status.message == (
        "Ready (sensortag every 5.0 s to gateway-0, light 60 %, window 35 %, going to 100 %)"
    )


def test_under_a_new_name_it_waits_for_the_new_identity(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    state = context.run(context.on.config_changed(), dataclasses.replace(state, config={"node_name": "attic"}))
    assert state.unit_status == testing.WaitingStatus("Waiting for gateway")
    assert machine.settings.node == "sensor-node-0", "the old one keeps running until then"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("node_name", "a/b"),
        ("node_name", "a.b"),
        ("profile", "toaster"),
        ("profile", "host,host"),
        ("profile", ""),
        ("actuators", "toaster"),
        ("actuators", "light,light"),
        ("interval", 0.0),
        ("interval", 100_000.0),
        ("log_level", "loud"),
    ],
)
def test_a_bad_option_blocks_and_the_agent_keeps_running(
    machine, context: Context, served, answered, option: str, value: str | float
):
    state = context.run(context.on.relation_changed(answered), served)
    good = machine.settings
    state = context.run(context.on.config_changed(), dataclasses.replace(state, config={option: value}))
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert state.unit_status.message.startswith(f"{option}={value!r}: ")
    assert machine.is_running
    assert machine.settings == good


def test_a_malformed_answer_blocks_with_the_reason(machine, context: Context, served, answered):
    answered.remote_units_data[0]["port"] = "70000"
    state = context.run(context.on.relation_changed(answered), served)
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "gateway/0 published port=70000" in state.unit_status.message
    assert not machine.is_running


def test_a_secret_that_is_not_granted_is_waited_for(machine, context: Context, answered):
    state = context.run(context.on.relation_changed(answered), testing.State(relations={answered}))
    assert state.unit_status == testing.WaitingStatus("Waiting for gateway")


def test_a_broken_relation_stops_the_agent(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    state = context.run(context.on.relation_broken(state.get_relation(answered.id)), state)
    assert not machine.is_running
    assert state.unit_status == testing.BlockedStatus("Missing required mqtt relation")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, testing.WaitingStatus("Waiting for gateway: the agent has just started")),
        (
            Status(problem="10.1.2.3:1883 can't be reached"),
            testing.WaitingStatus("Waiting for gateway: 10.1.2.3:1883 can't be reached"),
        ),
        (
            Status(connected=True, dropped=1200),
            testing.ActiveStatus("Ready (sensortag every 5.0 s to gateway-0, 1,200 packs dropped)"),
        ),
    ],
)
def test_the_status_tells_what_the_agent_tells(machine, context: Context, served, answered, told, expected):
    machine.told = told
    state = context.run(context.on.relation_changed(answered), served)
    assert state.unit_status == expected


def test_the_status_tells_that_the_agent_is_down(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    state = context.run(context.on.stop(), state)
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "journalctl -u iot-node-sensor-node-0" in state.unit_status.message


def test_remove_leaves_no_service(machine, context: Context, served, answered):
    state = context.run(context.on.relation_changed(answered), served)
    context.run(context.on.remove(), state)
    assert machine.uninstalled


class TestGenerateData:
    def test_streams_progress_and_returns_the_count(self, machine, context: Context, served, answered):
        state = context.run(context.on.relation_changed(answered), served)
        params = {"count": 500, "rate": 100.0, "seed": 7}
        context.run(context.on.action("generate-data", params=params), state)
        assert machine.generated == {
            "instance": "sensor-node-0",
            "count": 500,
            "rate": 100.0,
            "seed": 7,
            "timeout": 60.0,
        }
        assert context.action_logs == ["sending 500 readings to gateway-0", "5,000 of 10,000 sent, 20,013/s"]
        assert context.action_results == {"node": "sensor-node-0:run-1", "sent": 500, "seconds": 0.5, "rate": 1000.0}

    @pytest.mark.parametrize(("name", "value"), [("count", -1), ("count", 0), ("rate", -1.0), ("timeout", 0.0)])
    def test_refuses_a_bad_parameter(self, machine, context: Context, served, answered, name: str, value: float):
        state = context.run(context.on.relation_changed(answered), served)
        with pytest.raises(testing.ActionFailed, match=f"{name}={value}: Input should be greater"):
            context.run(context.on.action("generate-data", params={name: value}), state)
        assert not machine.generated

    def test_refuses_without_a_gateway(self, machine, context: Context):
        with pytest.raises(testing.ActionFailed, match="no gateway to send to"):
            context.run(context.on.action("generate-data"), testing.State())

    def test_refuses_without_an_identity(self, machine, context: Context, answered):
        with pytest.raises(testing.ActionFailed, match="has not let this node in"):
            context.run(context.on.action("generate-data"), testing.State(relations={answered}))

    def test_fails_with_the_generators_reason(self, machine, context: Context, served, answered):
        state = context.run(context.on.relation_changed(answered), served)
        machine.generator_error = "gave up after 60 s: 10.1.2.3:1883 can't be reached; 0 of 10,000 sent"
        with pytest.raises(testing.ActionFailed, match="gave up after 60 s"):
            context.run(context.on.action("generate-data"), state)


class TestSmokeTest:
    def test_passes(self, machine, context: Context, served, answered):
        state = context.run(context.on.relation_changed(answered), served)
        context.run(context.on.action("smoke-test"), state)
        assert context.action_results == {
            "result": "passed",
            "node": "sensor-node-0",
            "packs-acknowledged": 3,
            "packs-waiting": 0,
            "packs-dropped": 0,
        }

    def test_fails_when_the_gateway_takes_nothing(self, machine, context: Context, served, answered):
        state = context.run(context.on.relation_changed(answered), served)
        machine.told = Status(problem="the gateway refuses packs: Not authorized")
        with pytest.raises(testing.ActionFailed, match="refuses packs"):
            context.run(context.on.action("smoke-test"), state)

    def test_fails_when_the_agent_is_down(self, machine, context: Context):
        with pytest.raises(testing.ActionFailed, match="not running"):
            context.run(context.on.action("smoke-test"), testing.State())

    def test_fails_with_a_bad_option(self, machine, context: Context):
        with pytest.raises(testing.ActionFailed, match="profile"):
            context.run(context.on.action("smoke-test"), testing.State(config={"profile": "x"}))
