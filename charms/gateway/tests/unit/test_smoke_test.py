"""The smoke test: what it tells of a probe that arrives, and of one that does not."""

from typing import Any

import pytest
from fakes import BROKER_SECRET, Machine, amqp, mqtt, relay_status
from ops.testing import ActionFailed, Context, State

import relay_settings
import smoke
from charm import GatewayCharm

SETTINGS = relay_settings.Listener("10.0.0.1", 1883, "telemetry")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The probes that were published; the client alone is replaced."""
    nodes: list[str] = []
    monkeypatch.setattr(smoke, "_publish", lambda _settings, _password, node, _deadline: nodes.append(node))
    return nodes


def test_a_probe_that_is_confirmed(published: list[str]):
    answers = iter(["stored", "confirmed"])
    result = smoke.run(SETTINGS, "x", lambda: relay_status(probes={published[0]: next(answers)}), 5)
    assert result.node == published[0]
    assert result.node.startswith("smoke-test:")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"probes": {}}, "on its way, not confirmed.*no fault is known"),
        ({"uplink": {"error": "connection refused"}}, "connection refused"),
        ({"probes": {"smoke-test": "dead letter"}}, "bad payload"),
    ],
)
def test_a_probe_that_is_not(published: list[str], seen: dict[str, Any], reason: str):
    with pytest.raises(smoke.SmokeTestError, match=reason):
        smoke.run(SETTINGS, "x", lambda: relay_status(**seen), 0)


def test_no_listener():
    with pytest.raises(smoke.SmokeTestError, match=r"no MQTT listener at 127\.0\.0\.1:1"):
        smoke.run(relay_settings.Listener("127.0.0.1", 1, "telemetry"), "x", relay_status, 1)


def test_the_identity_of_the_probe_is_there_for_the_test_alone(
    machine: Machine, context: Context[GatewayCharm], monkeypatch: pytest.MonkeyPatch
):
    nodes = mqtt(u0="sensor-node-0")
    first = context.run(
        context.on.relation_changed(nodes, remote_unit=0),
        State(relations={amqp(), nodes}, secrets={BROKER_SECRET}, leader=True),
    )
    machine.user_history.clear()
    monkeypatch.setattr(
        smoke, "run", lambda _settings, _password, _status, timeout: smoke.Result("smoke-test:1", timeout)
    )
    context.run(context.on.action("smoke-test", params={"timeout": 2}), first)
    assert context.action_results == {"result": "passed", "node": "smoke-test:1", "milliseconds": 2000}
    assert machine.user_history == [
        {"sensor-node-0", "smoke-test"},
        {"sensor-node-0"},
    ]


def test_a_failure_is_told_and_the_identity_withdrawn(
    machine: Machine, context: Context[GatewayCharm], monkeypatch: pytest.MonkeyPatch
):
    first = context.run(context.on.config_changed(), State(relations={amqp()}, secrets={BROKER_SECRET}))

    def fail(*_: Any) -> smoke.Result:
        raise smoke.SmokeTestError("the probe is stored, not confirmed")

    monkeypatch.setattr(smoke, "run", fail)
    with pytest.raises(ActionFailed, match="stored, not confirmed"):
        context.run(context.on.action("smoke-test", params={"timeout": 2}), first)
    assert machine.users == {}


@pytest.mark.parametrize(("config", "reason"), [({}, "not set up"), ({"batch_size": 0}, "batch_size=0")])
def test_what_can_not_be_tested(machine: Machine, context: Context[GatewayCharm], config: dict[str, int], reason: str):
    with pytest.raises(ActionFailed, match=reason):
        context.run(context.on.action("smoke-test"), State(config=config))


def test_the_relay_is_gone(published: list[str], machine: Machine):
    with pytest.raises(smoke.SmokeTestError, match="no relay answers"):
        smoke.run(SETTINGS, "x", machine.relay_status, 1)
