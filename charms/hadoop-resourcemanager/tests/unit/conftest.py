"""YARN in memory, in the place of the workload module."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from ops import testing

import charm
import resourcemanager


@dataclass
class FakeYarn:
    """What the machine holds; stands in for the module ``resourcemanager``."""

    archive: Path | None = None
    running: tuple[str, resourcemanager.FileSystem | None, int] | None = None
    history: tuple[str, resourcemanager.FileSystem, int] | None = None
    answers: bool = True
    workers: int = 0
    job_error: str = ""

    PORTS, MAPRED_USER = resourcemanager.PORTS, resourcemanager.MAPRED_USER
    Addresses, FileSystem, JobError = (
        resourcemanager.Addresses,
        resourcemanager.FileSystem,
        resourcemanager.JobError,
    )

    def install(self, archive: Path) -> None:
        self.archive = archive

    def is_set_up(self) -> bool:
        return self.running is not None

    def ensure_resourcemanager(
        self, address: str, file_system: resourcemanager.FileSystem | None, *, heap_mb: int
    ) -> bool:
        changed, self.running = self.running is None, (address, file_system, heap_mb)
        return changed

    def ensure_historyserver(self, address: str, file_system: resourcemanager.FileSystem, *, heap_mb: int) -> bool:
        changed, self.history = self.history is None, (address, file_system, heap_mb)
        return changed

    def stop_historyserver(self) -> None:
        self.history = None

    def stop_resourcemanager(self) -> None:
        self.running = None

    def wait_for_resourcemanager(self, address: str, timeout_s: float) -> bool:
        return self.nodemanagers(address) is not None

    def wait_for_historyserver(self, address: str, timeout_s: float) -> bool:
        return self.has_history(address)

    def nodemanagers(self, address: str) -> int | None:
        return self.workers if self.running and self.answers else None

    def has_history(self, address: str) -> bool:
        return self.history is not None and self.answers

    def smoke_test(self) -> float:
        if self.job_error:
            raise resourcemanager.JobError(self.job_error)
        return 12.34

    def testdfsio(self, mode: str, *, files: int, size_mb: int) -> dict[str, str]:
        if self.job_error:
            raise resourcemanager.JobError(self.job_error)
        return {"throughput": f"{files * size_mb}", "seconds": "1"}


@pytest.fixture
def yarn(monkeypatch: pytest.MonkeyPatch) -> FakeYarn:
    fake = FakeYarn()
    monkeypatch.setattr(charm, "resourcemanager", fake)
    monkeypatch.setattr(charm.hadoop_node, "version", lambda: "3.5.0")
    return fake


@pytest.fixture
def context() -> testing.Context[charm.ResourceManagerCharm]:
    return testing.Context(charm.ResourceManagerCharm)


@pytest.fixture
def alone(tmp_path: Path) -> testing.State:
    """A unit without relations."""
    archive = tmp_path / "hadoop.tar.gz"
    archive.write_bytes(b"x")
    return testing.State(resources={testing.Resource(name="hadoop", path=archive)})


@pytest.fixture
def namenode() -> testing.Relation:
    """A file system with a home for the job history."""
    data = {
        "host": '"10.0.0.1"',
        "port": "8020",
        "web_port": "9870",
        "datanodes": "1",
        "replication": "1",
        "block_size": "134217728",
        "users": '["mapred"]',
    }
    return testing.Relation("namenode", remote_app_name="hadoop-namenode", remote_units_data={0: data})


@pytest.fixture
def worker() -> testing.Relation:
    data = {"host": '"10.0.0.3"', "memory_mb": "4096", "vcores": "4"}
    return testing.Relation("nodemanager", remote_app_name="hadoop-worker", remote_units_data={0: data})
