"""Spark, its history server and its part of HDFS in memory, in the place of the workload modules."""

import getpass
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ops import testing

import charm
import history
import spark
import submit
from iot_charm.webhdfs import WebHdfsError


@dataclass
class FakeMachine:
    """What the machine and HDFS hold."""

    archive: Path | None = None
    settings: spark.Settings | None = None
    history_started_from: object = None
    history_starts: int = 0
    history_stopped: bool = False
    history_broken: bool = False
    hdfs_down: bool = False
    shared: set[str] = field(default_factory=set)
    submitted: list[list[str]] = field(default_factory=list)
    submit_error: submit.SubmitError | None = None
    pi_value: float = 3.1415
    jobs: list[history.Job] = field(default_factory=list)
    uninstalled: bool = False

    # spark

    def install(self, archive: Path) -> None:
        self.archive = archive

    def version(self) -> str:
        return "4.3.0"

    def build(self) -> str:
        return "0123456789ab"

    def configure(self, settings: spark.Settings) -> None:
        self.settings = settings

    def uninstall(self) -> None:
        self.uninstalled = True

    # history

    def ensure_running(self, address: str, *, heap_mb: int, restart: bool) -> bool:
        wanted = (heap_mb, self.archive, self.settings)
        if self.history_stopped or (not restart and wanted == self.history_started_from):
            return False
        self.history_started_from, self.history_starts = wanted, self.history_starts + 1
        return True

    def answers(self, address: str) -> bool:
        return bool(self.history_starts) and not self.history_stopped and not self.history_broken

    def stop(self) -> None:
        self.history_stopped = True

    def allow_start(self) -> None:
        self.history_stopped = False

    def list_jobs(self, address, resourcemanager, limit) -> list[history.Job]:
        return self.jobs[:limit]

    # submit

    def run_job(self, words, *, address, timeout_s, progress, resourcemanager) -> submit.Run:
        self.submitted.append(list(words))
        if self.submit_error:
            raise self.submit_error
        progress("application_1_1 is RUNNING")
        return submit.Run(0, "application_1_1", 12.34, "it printed this\n", "log")

    def run_pi(self, partitions, **arguments) -> tuple[float, submit.Run]:
        arguments.pop("namenode")
        return self.pi_value, self.run_job([f"pi {partitions}"], timeout_s=1, **arguments)


@pytest.fixture
def machine(monkeypatch) -> FakeMachine:
    fake = FakeMachine()

    class FakeShare:
        def __init__(self, namenode, version, build):
            self.namenode = namenode
            self.archive = f"{namenode.uri}/user/spark/share/spark-{version}-{build}-jars.zip"
            self.event_log_dir = f"{namenode.uri}/user/spark/applicationHistory"

        def _reach(self):
            if fake.hdfs_down:
                raise WebHdfsError("connection refused")

        def ensure(self, jars, scratch):
            self._reach()
            fake.shared.add(self.archive)
            return True

        def is_complete(self):
            self._reach()
            return self.archive in fake.shared

    for name in ("install", "version", "build", "configure", "uninstall"):
        monkeypatch.setattr(spark, name, getattr(fake, name))
    for name in ("ensure_running", "answers", "stop", "allow_start"):
        monkeypatch.setattr(history, name, getattr(fake, name))
    monkeypatch.setattr(history, "wait", fake.answers)
    monkeypatch.setattr(history, "is_stopped", lambda: fake.history_stopped)
    monkeypatch.setattr(history, "jobs", fake.list_jobs)
    monkeypatch.setattr(history, "uninstall", lambda: None)
    monkeypatch.setattr(submit, "submit", fake.run_job)
    monkeypatch.setattr(submit, "pi", fake.run_pi)
    monkeypatch.setattr(charm, "Share", FakeShare)
    return fake


@pytest.fixture
def context():
    return testing.Context(charm.SparkCharm)


@pytest.fixture
def resource(tmp_path) -> testing.Resource:
    return testing.Resource(name="spark", path=tmp_path / "spark.tgz")


@pytest.fixture
def hdfs() -> testing.Relation:
    data = {
        "host": "192.0.2.1",
        "port": 8020,
        "web_port": 9870,
        "datanodes": 1,
        "replication": 1,
        "block_size": 134217728,
        "users": ["flume", "spark"],
    }
    return relation("namenode", data)


@pytest.fixture
def yarn() -> testing.Relation:
    ports = ("port", "scheduler_port", "tracker_port", "web_port", "history_port", "history_web_port")
    return relation("resourcemanager", {"host": "192.0.2.2", "nodemanagers": 1} | dict.fromkeys(ports, 8088))


def relation(endpoint: str, data: dict[str, object]) -> testing.Relation:
    values = {key: json.dumps(value) for key, value in data.items()}
    return testing.Relation(endpoint, remote_app_name=f"hadoop-{endpoint}", remote_units_data={0: values})


@pytest.fixture
def me(monkeypatch) -> str:
    """Programs run as who runs the tests."""
    monkeypatch.setattr(spark, "USER", getpass.getuser())
    return getpass.getuser()
