"""An agent in memory, in the place of the workload modules."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ops import testing

import charm
import flume_rabbitmq
from iot_charm.flume.agent import Agent
from iot_charm.flume.rabbitmq import Broker, RabbitmqAgent, beans


@dataclass
class FakeFlume:
    """What the machine runs; stands in for ``flume_rabbitmq`` and ``iot_charm.flume.service``."""

    installed: Path | None = None
    running: bool = False
    held: bool = False
    configured: tuple[Any, ...] | None = None
    starts: int = 0
    broken: str = ""
    calls: list[str] = field(default_factory=list[str])

    def install(self, agent: Agent, archive: Path) -> str:
        self.installed = archive
        return "1.11.0"

    def configure(self, agent: Agent, broker: Broker, wanted: RabbitmqAgent, *, heap_mb: int, charm_dir: Path) -> bool:
        beans(broker)
        changed = self.configured != (broker, wanted, heap_mb)
        self.configured = (broker, wanted, heap_mb)
        if changed and not self.held:
            self.running, self.starts = True, self.starts + 1
        return changed

    def uses_tls(self, agent: Agent) -> bool:
        return bool(self.configured and self.configured[0].ca)

    def disable(self, agent: Agent) -> None:
        self.running, self.configured = False, None

    def smoke_test(self, agent: Agent, broker: Broker, sources: int, targets: Any) -> flume_rabbitmq.Depth:
        if self.broken:
            raise flume_rabbitmq.NotWorkingError(self.broken)
        return flume_rabbitmq.Depth(7, 0)

    def is_running(self, agent: Agent) -> bool:
        return self.running

    def is_held(self, agent: Agent) -> bool:
        return self.held

    def is_configured(self, agent: Agent) -> bool:
        return self.configured is not None

    def start(self, agent: Agent) -> None:
        self.running, self.held = True, False

    def stop(self, agent: Agent) -> None:
        self.running, self.held = False, True

    def restart(self, agent: Agent) -> None:
        self.start(agent)
        self.starts += 1


@pytest.fixture
def flume(monkeypatch: pytest.MonkeyPatch) -> FakeFlume:
    fake = FakeFlume()
    monkeypatch.setattr(charm, "flume_rabbitmq", fake)
    monkeypatch.setattr(charm, "service", fake)
    monkeypatch.setattr("iot_charm.flume.charm.service", fake)
    return fake


@pytest.fixture
def context(flume: FakeFlume) -> testing.Context[charm.FlumeRabbitmqCharm]:
    return testing.Context(charm.FlumeRabbitmqCharm)


@pytest.fixture
def resource(tmp_path: Path) -> testing.Resource:
    archive = tmp_path / "flume.tar.gz"
    archive.write_bytes(b"jars")
    return testing.Resource(name="flume", path=archive)


@pytest.fixture
def password() -> testing.Secret:
    return testing.Secret({"password": "s3cret"})


@pytest.fixture
def amqp(password: testing.Secret) -> testing.Relation:
    answer = {"hostname": "10.0.0.2", "port": "5672", "password-secret": password.id, "batch-encoding": "gzip"}
    return testing.Relation("amqp", remote_app_name="rabbitmq", remote_units_data={0: answer})


@pytest.fixture
def sink() -> testing.Relation:
    source = {"host": '"10.0.0.3"', "port": "4141", "protocol": '"avro"'}
    return testing.Relation("flume-sink", remote_app_name="flume-hdfs", remote_units_data={0: source})


@pytest.fixture
def state(
    resource: testing.Resource, password: testing.Secret, amqp: testing.Relation, sink: testing.Relation
) -> testing.State:
    """Everything is related and has answered."""
    return testing.State(resources={resource}, secrets={password}, relations={amqp, sink}, leader=True)
