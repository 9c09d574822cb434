"""A DataNode and a NodeManager in memory, in the place of the workload module."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ops import testing

import charm
import worker
from iot_charm.hadoop import ResourceManagerAddresses


@dataclass
class FakeWorker:
    """What the machine holds; stands in for the module ``worker``."""

    archive: Path | None = None
    datanode: tuple[worker.Settings, worker.FileSystem] | None = None
    nodemanager: tuple[worker.Settings, worker.FileSystem, ResourceManagerAddresses] | None = None
    registers: set[str] = field(default_factory=lambda: {"datanode", "nodemanager"})

    DATANODE_PORTS, NODEMANAGER_PORTS = worker.DATANODE_PORTS, worker.NODEMANAGER_PORTS
    Settings, FileSystem = worker.Settings, worker.FileSystem

    def install(self, archive: Path) -> None:
        self.archive = archive

    def ensure_datanode(self, settings: worker.Settings, file_system: worker.FileSystem) -> bool:
        changed, self.datanode = (settings, file_system) != self.datanode, (settings, file_system)
        return changed

    def ensure_nodemanager(
        self, settings: worker.Settings, file_system: worker.FileSystem, resourcemanager: ResourceManagerAddresses
    ) -> bool:
        wanted = (settings, file_system, resourcemanager)
        changed, self.nodemanager = wanted != self.nodemanager, wanted
        return changed

    def stop_datanode(self) -> None:
        self.datanode = None

    def stop_nodemanager(self) -> None:
        self.nodemanager = None

    def has_datanode_registered(self, address: str) -> bool:
        return self.datanode is not None and "datanode" in self.registers

    def has_nodemanager_registered(self, address: str, resourcemanager: ResourceManagerAddresses) -> bool:
        return self.nodemanager is not None and "nodemanager" in self.registers

    def wait_for_datanode(self, address: str, timeout_s: float) -> bool:
        return self.has_datanode_registered(address)

    def wait_for_nodemanager(self, address: str, resourcemanager: ResourceManagerAddresses, timeout_s: float) -> bool:
        return self.has_nodemanager_registered(address, resourcemanager)


@pytest.fixture
def daemons(monkeypatch: pytest.MonkeyPatch) -> FakeWorker:
    fake = FakeWorker()
    monkeypatch.setattr(charm, "worker", fake)
    monkeypatch.setattr(charm.hadoop_node, "version", lambda: "3.5.0")
    return fake


@pytest.fixture
def context() -> testing.Context[charm.WorkerCharm]:
    return testing.Context(charm.WorkerCharm)


@pytest.fixture
def alone(tmp_path: Path) -> testing.State:
    """A unit without relations."""
    archive = tmp_path / "hadoop.tar.gz"
    archive.write_bytes(b"x")
    return testing.State(resources={testing.Resource(name="hadoop", path=archive)})


@pytest.fixture
def namenode() -> testing.Relation:
    """A NameNode that accepts DataNodes."""
    data = {
        "host": '"10.0.0.1"',
        "port": "8020",
        "replication": "1",
        "block_size": "134217728",
        "cluster_id": '"CID-1"',
    }
    return testing.Relation("namenode", remote_app_name="hadoop-namenode", remote_units_data={0: data})


@pytest.fixture
def resourcemanager() -> testing.Relation:
    """A ResourceManager that accepts NodeManagers."""
    data = {
        "host": '"10.0.0.2"',
        "port": "8032",
        "scheduler_port": "8030",
        "tracker_port": "8031",
        "web_port": "8088",
    }
    return testing.Relation("resourcemanager", remote_app_name="hadoop-resourcemanager", remote_units_data={0: data})
