"""A machine in memory, in the place of the workload module."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ops import testing

import charm
import node
from iot_node.agent import Status


@dataclass
class FakeMachine:
    """What the machine holds; stands in for the module ``node``."""

    version: str = "1"
    installed: str = ""
    settings: node.Settings | None = None
    is_running: bool = False
    starts: int = 0
    started_from: object = None
    uninstalled: bool = False
    told: Status | None = None
    """What a started agent tells."""
    generated: dict[str, object] = field(default_factory=dict)
    generator_error: str = ""

    NodeError, Settings, Tls = node.NodeError, node.Settings, node.Tls

    def service_name(self, instance: str) -> str:
        return node.service_name(instance)

    def install(self, charm_dir: Path) -> None:
        self.installed = self.version

    def configure(self, settings: node.Settings) -> None:
        self.settings = settings

    def uses_tls(self, instance: str) -> bool:
        return self.settings is not None and self.settings.tls is not None

    def start(self, settings: node.Settings, *, restart: bool) -> bool:
        wanted = (self.installed, self.settings)
        if self.is_running and not restart and wanted == self.started_from:
            return False
        self.started_from = wanted
        self.is_running, self.starts = True, self.starts + 1
        return True

    def running(self, instance: str) -> bool:
        return self.is_running

    def stop(self, instance: str) -> None:
        self.is_running = False

    def uninstall(self, instance: str) -> None:
        self.is_running, self.uninstalled = False, True

    def status(self, name: str) -> Status:
        if self.told is None:
            raise node.NodeError("the agent has not told its status")
        return self.told

    def wait_for_acknowledgement(self, name: str, since: float, timeout: float) -> Status:
        found = self.status(name)
        if found.problem:
            raise node.NodeError(f"{found.problem} (waited {timeout:.0f} s)")
        return found

    def generate(
        self, instance: str, *, count: int, rate: float, seed: int, timeout: float, progress: Callable[[str], None]
    ) -> node.Sent:
        if self.generator_error:
            raise node.NodeError(self.generator_error)
        self.generated = {"instance": instance, "count": count, "rate": rate, "seed": seed, "timeout": timeout}
        progress("5,000 of 10,000 sent, 20,013/s")
        return node.Sent("sensor-node-0:run-1", count, 0.5, count / 0.5)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    fake = FakeMachine(told=Status(connected=True, sampled=3, acknowledged=3))
    monkeypatch.setattr(charm, "node", fake)
    return fake


@pytest.fixture
def context() -> testing.Context[charm.SensorNodeCharm]:
    return testing.Context(charm.SensorNodeCharm)


@pytest.fixture
def secret() -> testing.Secret:
    return testing.Secret({"username": "sensor-node-0", "password": "first"})


@pytest.fixture
def unanswered() -> testing.Relation:
    return testing.Relation("mqtt", remote_app_name="gateway")


@pytest.fixture
def answered(secret: testing.Secret) -> testing.Relation:
    return testing.Relation(
        "mqtt",
        remote_app_name="gateway",
        remote_units_data={
            0: {
                "host": '"10.1.2.3"',
                "port": "1883",
                "site": '"site-1"',
                "gateway": '"gateway-0"',
                "topic_prefix": '"telemetry"',
                "credentials": f'{{"sensor-node/0": "{secret.id}", "sensor-node/1": "secret:another"}}',
            }
        },
    )


@pytest.fixture
def served(answered: testing.Relation, secret: testing.Secret) -> testing.State:
    """The state in which a gateway serves the unit."""
    return testing.State(relations={answered}, secrets={secret})
