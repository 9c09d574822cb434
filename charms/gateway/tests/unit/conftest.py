"""The charm on a machine that is not there."""

import sys
from pathlib import Path

import ops.testing
import pytest

import amqp_route
import mosquitto
import relay
from charm import GatewayCharm

# Pytest's importlib mode puts no test folder on the path.
sys.path.insert(0, str(Path(__file__).parent))
from fakes import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(mosquitto, "ensure_broker", made.ensure_broker)
    monkeypatch.setattr(mosquitto, "running", lambda: made.mosquitto_runs)
    monkeypatch.setattr(mosquitto, "stop", lambda: made.stopped.append("mosquitto"))
    monkeypatch.setattr(mosquitto, "remove_unit", lambda: made.stopped.append("mosquitto removed"))
    monkeypatch.setattr(amqp_route, "ensure_routes", made.ensure_routes)
    monkeypatch.setattr(amqp_route, "is_open", made.is_open)
    monkeypatch.setattr(amqp_route, "stop", lambda: made.stopped.append("routes"))
    monkeypatch.setattr(relay, "install", made.install)
    monkeypatch.setattr(relay, "ensure_relay", made.ensure_relay)
    monkeypatch.setattr(relay, "wait_until_connected", made.wait_until_connected)
    monkeypatch.setattr(relay, "ensure_nodes", made.ensure_nodes)
    monkeypatch.setattr(relay, "is_installed", lambda: made.relay_settings is not None)
    monkeypatch.setattr(relay, "status", made.relay_status)
    monkeypatch.setattr(relay, "node_states", made.node_states)
    monkeypatch.setattr(relay, "plan_buffer", made.plan_buffer)
    monkeypatch.setattr(relay, "stop", lambda: made.stopped.append("relay"))
    monkeypatch.setattr(relay, "remove", lambda: made.stopped.append("relay removed"))
    return made


@pytest.fixture
def context(machine: Machine) -> ops.testing.Context[GatewayCharm]:
    return ops.testing.Context(GatewayCharm)
