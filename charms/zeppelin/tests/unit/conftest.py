"""A Zeppelin server in memory, in the place of the workload's modules."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ops import testing

import charm
import notebooks
import zeppelin
from server import Result, ZeppelinError


@dataclass
class FakeServer:
    """What the machine and the server hold; also a connection to it."""

    archives: tuple[Path, Path] | None = None
    settings: zeppelin.Settings | None = None
    starts: int = 0
    started_from: object = None
    answering: bool = True
    web_page: bool = False
    spark: str = "4.3.0"
    forgotten: int = 0
    uninstalled: bool = False
    stored: dict[str, dict] = field(default_factory=dict)
    """Identifier -> note, as exported."""
    ran: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    outcomes: dict[str, str] = field(default_factory=dict)
    """Title of a paragraph -> how it ends, if not FINISHED."""
    shows: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """Title of a paragraph -> its outputs."""

    # The machine

    def install(self, zeppelin_archive: Path, spark_archive: Path) -> None:
        self.archives = (zeppelin_archive, spark_archive)

    def forget_installation(self) -> None:
        self.archives, self.forgotten = None, self.forgotten + 1

    def configure(self, settings: zeppelin.Settings) -> None:
        self.settings = settings

    def ensure_running(self, settings: zeppelin.Settings, *, restart: bool) -> None:
        if not self.answering:
            raise ZeppelinError("the server did not answer in 120 s")
        wanted = (self.archives, settings.address, settings.server_heap_mb)
        if restart or wanted != self.started_from:
            self.starts += 1
        self.started_from = wanted

    def connect(self, settings: zeppelin.Settings) -> "FakeServer":
        if not self.answering or not self.starts:
            raise ZeppelinError("the server does not answer")
        assert self.settings is not None
        assert settings.admin_password == self.settings.admin_password
        return self

    def answers(self, address: str) -> bool:
        return self.answering and bool(self.starts)

    def uninstall(self) -> None:
        self.uninstalled = True

    # The server

    def version(self) -> str:
        return "0.10.0"

    def notes(self) -> dict[str, str]:
        return {note["name"]: identifier for identifier, note in self.stored.items()}

    def import_note(self, note: dict) -> str:
        identifier = f"N{len(self.stored)}-{len(self.ran)}"
        self.stored[identifier] = copy.deepcopy(note)
        for number, paragraph in enumerate(self.stored[identifier]["paragraphs"]):
            paragraph["id"] = f"p{number}"
        return identifier

    def delete(self, identifier: str) -> None:
        del self.stored[identifier]

    def export(self, identifier: str) -> dict:
        note = copy.deepcopy(self.stored[identifier])
        # As the server does: the folders are not part of an exported name.
        note["name"] = note["name"].rpartition("/")[2]
        return note

    def paragraphs(self, identifier: str) -> list[dict]:
        return self.stored[identifier]["paragraphs"]

    def restart_interpreter(self, name: str) -> None:
        self.restarted.append(name)

    def run(self, note: str, paragraph: str, forms: dict[str, str], *, timeout_s: float) -> Result:
        (found,) = [each for each in self.stored[note]["paragraphs"] if each["id"] == paragraph]
        self.ran.append((found["title"], forms))
        status = self.outcomes.get(found["title"], "FINISHED")
        found["status"] = "ABORT" if status == "TIMEOUT" else status
        if status == "TIMEOUT":
            raise ZeppelinError(f"did not end within {timeout_s:.0f} s and was stopped")
        found["dateStarted"], found["dateFinished"] = "2026-11-24 07:00:00.000", "2026-11-24 07:00:02.000"
        found["results"] = {"code": "SUCCESS", "msg": self.shows.get(found["title"], [])}
        return Result(status, 2.0)


@pytest.fixture
def server(monkeypatch, tmp_path) -> FakeServer:
    fake = FakeServer()
    for name in (
        "install",
        "forget_installation",
        "configure",
        "ensure_running",
        "connect",
        "answers",
        "uninstall",
    ):
        monkeypatch.setattr(zeppelin, name, getattr(fake, name))
    monkeypatch.setattr(zeppelin, "has_web_page", lambda: fake.web_page)
    monkeypatch.setattr(zeppelin, "spark_version", lambda: fake.spark)
    pages = tmp_path / "pages"
    pages.mkdir()
    monkeypatch.setattr(notebooks, "PAGES", pages)
    monkeypatch.setattr(notebooks, "BROUGHT", tmp_path / "brought.json")

    def ensure_file(path, content, **_access):
        path.write_text(content)
        return True

    monkeypatch.setattr(notebooks, "ensure_file", ensure_file)
    return fake


@pytest.fixture
def context():
    return testing.Context(charm.ZeppelinCharm)


@pytest.fixture
def alone(tmp_path) -> testing.State:
    names = ("zeppelin", "spark")
    return testing.State(leader=True, resources=[testing.Resource(name=name, path=tmp_path / name) for name in names])


@pytest.fixture
def hdfs() -> testing.Relation:
    data = {
        "host": "192.0.2.1",
        "port": 8020,
        "web_port": 9870,
        "datanodes": 1,
        "replication": 1,
        "block_size": 134217728,
        "users": ["zeppelin"],
    }
    return relation("namenode", data)


@pytest.fixture
def yarn() -> testing.Relation:
    ports = ("port", "scheduler_port", "tracker_port", "web_port", "history_port", "history_web_port")
    return relation("resourcemanager", {"host": "192.0.2.2", "nodemanagers": 1} | dict.fromkeys(ports, 8088))


@pytest.fixture
def spark() -> testing.Relation:
    data = {
        "version": "4.3.0",
        "execution_mode": "yarn-cluster",
        "archive": "hdfs://192.0.2.1:8020/user/spark/share/a.zip",
        "event_log_dir": "hdfs://192.0.2.1:8020/user/spark/applicationHistory",
        "history_url": "http://192.0.2.3:18080",
        "driver_memory": "1g",
        "executor_memory": "2g",
    }
    return relation("spark", data)


def relation(endpoint: str, data: dict[str, object]) -> testing.Relation:
    values = {key: json.dumps(value) for key, value in data.items()}
    return testing.Relation(endpoint, remote_app_name=f"the-{endpoint}", remote_units_data={0: values})
