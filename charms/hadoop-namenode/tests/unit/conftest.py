"""A NameNode in memory, in the place of the workload module."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ops import testing

import charm
import namenode


@dataclass
class FakeNameNode:
    """What the machine holds; stands in for the module ``namenode``."""

    archive: Path | None = None
    settings: namenode.Settings | None = None
    starts: int = 0
    stopped: bool = False
    answers: bool = True
    found: namenode.Report = field(default_factory=lambda: namenode.Report(0, False, "CID-1"))
    homes: dict[str, None] = field(default_factory=dict)
    installed: bool = True
    smoke_error: str = ""

    PORT, WEB_PORT, NameNodeError = namenode.PORT, namenode.WEB_PORT, namenode.NameNodeError
    Settings, Report = namenode.Settings, namenode.Report

    def install(self, archive: Path) -> None:
        self.archive = archive

    def ensure_running(self, settings: namenode.Settings, *, restart: bool = False) -> bool:
        if self.stopped or (settings == self.settings and not restart):
            return False
        self.settings, self.starts = settings, self.starts + 1
        return True

    def has_file_system(self) -> bool:
        return self.starts > 0

    def is_stopped(self) -> bool:
        return self.stopped

    def stop(self) -> None:
        self.stopped, self.settings = True, None

    def allow_start(self) -> None:
        self.stopped = False

    def uninstall(self) -> None:
        self.installed = False

    def report(self, address: str) -> namenode.Report | None:
        if self.stopped or not self.answers:
            return None
        assert self.settings is not None
        assert address == self.settings.address
        return self.found

    def wait_for_report(self, address: str, *, datanodes: int, timeout_s: float) -> namenode.Report | None:
        return self.report(address)

    def ensure_homes(self, address: str, users: list[str]) -> list[str]:
        assert not self.found.safe_mode
        self.homes.update(dict.fromkeys(users))
        return list(users)

    def smoke_test(self, address: str, *, replication: int) -> float:
        if self.smoke_error:
            raise namenode.NameNodeError(self.smoke_error)
        return 0.25

    def backup(self, address: str, directory: Path) -> Path:
        if self.report(address) is None:
            raise namenode.NameNodeError("the NameNode does not answer")
        directory.mkdir(parents=True)
        (directory / "fsimage_1").write_bytes(b"image")
        return directory


@pytest.fixture
def hdfs(monkeypatch: pytest.MonkeyPatch) -> FakeNameNode:
    fake = FakeNameNode()
    monkeypatch.setattr(charm, "namenode", fake)
    monkeypatch.setattr(charm.hadoop_node, "version", lambda: "3.5.0")
    return fake


@pytest.fixture
def context() -> testing.Context[charm.NameNodeCharm]:
    return testing.Context(charm.NameNodeCharm)


@pytest.fixture
def alone(tmp_path: Path) -> testing.State:
    """A unit without relations."""
    archive = tmp_path / "hadoop.tar.gz"
    archive.write_bytes(b"x")
    return testing.State(leader=True, resources={testing.Resource(name="hadoop", path=archive)})
