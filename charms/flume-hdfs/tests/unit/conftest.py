"""An agent in memory, in the place of the workload modules."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ops import testing

import charm
import flume_hdfs
from iot_charm.flume.agent import Agent
from iot_charm.flume.hdfs import HdfsAgent
from iot_charm.flume.store import Entry
from iot_charm.interfaces.dfs import NameNode


class MemoryStore:
    """Files in memory; stands in for HDFS."""

    def __init__(self):
        self.files: dict[str, bytes] = {}

    def list(self, path: str) -> list[Entry]:
        found: dict[str, Entry] = {}
        for name, data in sorted(self.files.items()):
            if name.startswith(f"{path}/"):
                first, _, below = name.removeprefix(f"{path}/").partition("/")
                mode, length, copies = ("755", 0, 0) if below else ("644", len(data), 3)
                found[first] = Entry(f"{path}/{first}", bool(below), length, 0, mode, copies, "flume", "supergroup")
        return list(found.values())

    def walk(self, path: str):
        for entry in self.list(path):
            yield entry
            yield from self.walk(entry.path)

    def read(self, path: str, offset: int, length: int) -> bytes:
        return self.files[path][offset : offset + length]

    def chunks(self, path: str, *, size: int):
        data = self.files[path]
        for start in range(0, len(data), min(size, 50)):
            yield data[start : start + min(size, 50)]


@dataclass
class FakeFlume:
    """What the machine runs; stands in for ``flume_hdfs`` and ``iot_charm.flume.service``."""

    files: MemoryStore
    installed: Path | None = None
    running: bool = False
    held: bool = False
    deaf: bool = False
    configured: tuple[HdfsAgent, dict[str, Any]] | None = None
    starts: int = 0
    broken: str = ""

    def install(self, agent: Agent, archive: Path) -> str:
        self.installed = archive
        return "1.11.0"

    def configure(
        self, agent: Agent, namenode: NameNode, wanted: HdfsAgent, *, charm_dir: Path, **settings: Any
    ) -> bool:
        changed = self.configured != (wanted, settings)
        self.configured = (wanted, settings)
        if changed and not self.held:
            self.running, self.starts = True, self.starts + 1
        return changed

    def disable(self, agent: Agent) -> None:
        self.running, self.configured = False, None

    def is_listening(self, port: int, *, timeout_s: float = 1) -> bool:
        return self.running and not self.deaf

    def store(self, namenode: NameNode) -> MemoryStore:
        return self.files

    def smoke_test(self, agent: Agent, files: MemoryStore, port: int) -> float:
        if self.broken:
            raise flume_hdfs.NotWorkingError(self.broken)
        return 1.23

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
def files() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def flume(monkeypatch: pytest.MonkeyPatch, files: MemoryStore) -> FakeFlume:
    fake = FakeFlume(files)
    monkeypatch.setattr(charm, "flume_hdfs", fake)
    monkeypatch.setattr(charm, "service", fake)
    monkeypatch.setattr("iot_charm.flume.charm.service", fake)
    return fake


@pytest.fixture
def context(flume: FakeFlume) -> testing.Context[charm.FlumeHdfsCharm]:
    return testing.Context(charm.FlumeHdfsCharm)


@pytest.fixture
def resource(tmp_path: Path) -> testing.Resource:
    archive = tmp_path / "flume.tar.gz"
    archive.write_bytes(b"jars")
    return testing.Resource(name="flume", path=archive)


def _namenode_data(**changes: str) -> dict[str, str]:
    return {
        "host": '"10.0.0.4"',
        "port": "8020",
        "web_port": "9870",
        "datanodes": "2",
        "replication": "2",
        "block_size": "134217728",
        "users": '["flume"]',
        **changes,
    }


def _sender(app: str = "flume-rabbitmq", encoding: str = "gzip", event_dir: str = "flume-rabbitmq") -> testing.Relation:
    data = {"event_dir": f'"{event_dir}"', "batch_encoding": f'"{encoding}"'}
    return testing.Relation("flume-source", remote_app_name=app, remote_units_data={0: data})


@pytest.fixture
def namenode_data() -> Callable[..., dict[str, str]]:
    """What a NameNode publishes, with changes."""
    return _namenode_data


@pytest.fixture
def sender() -> Callable[..., testing.Relation]:
    """A relation with a sending agent."""
    return _sender


@pytest.fixture
def namenode() -> testing.Relation:
    return testing.Relation("namenode", remote_app_name="hadoop-namenode", remote_units_data={0: _namenode_data()})


@pytest.fixture
def source() -> testing.Relation:
    return _sender()


@pytest.fixture
def state(resource: testing.Resource, namenode: testing.Relation, source: testing.Relation) -> testing.State:
    """Everything is related and has answered."""
    return testing.State(resources={resource}, relations={namenode, source}, leader=True)
