"""A node of the cluster: when its daemons start anew, and what they say over HTTP."""

import json
import os
import pwd
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from iot_charm import distribution, files, hadoop, hadoop_node, services
from iot_charm.testing import Systemd

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "hadoop-common-3.5.0.jar").touch()
    (tmp_path / "hadoop").symlink_to("one")
    monkeypatch.setattr(hadoop, "HOME", tmp_path / "hadoop")
    monkeypatch.setattr(hadoop_node, "DATA", tmp_path / "data")
    monkeypatch.setattr(hadoop_node, "ensure_java", lambda: Path("/usr/lib/jvm/java-17-openjdk-amd64"))
    monkeypatch.setattr(hadoop_node, "ensure_directory", lambda path: files.ensure_directory(path, owner=ME))
    return Systemd.put_in_place(monkeypatch, tmp_path)


def start(*, heap_mb: int = 256, sites: dict[str, dict[str, int]] | None = None, restart: bool = False) -> bool:
    return hadoop_node.ensure_daemon(
        "hadoop-x",
        ["hdfs", "x"],
        user="hdfs",
        heap_mb=heap_mb,
        sites=sites or {"core": {"a": 1}},
        options=["-Dy=z"],
        restart=restart,
    )


def test_a_daemon_starts_anew_when_what_it_reads_changed(machine, tmp_path: Path):
    assert start()
    assert not start()
    assert start(heap_mb=300)
    assert start(sites={"core": {"a": 2}})
    assert start(restart=True, sites={"core": {"a": 2}})
    (tmp_path / "hadoop").unlink()
    (tmp_path / "hadoop").symlink_to("two")
    assert start(sites={"core": {"a": 2}})
    assert not start(sites={"core": {"a": 2}})


def test_the_unit_runs_the_launcher_with_its_heap(machine, tmp_path: Path):
    start()
    text = services.unit_file("hadoop-x").read_text()
    assert f"ExecStart={tmp_path}/hadoop/bin/hdfs x\n" in text
    assert 'Environment="HADOOP_DAEMON_OPTS=-Xmx256m -Dy=z"\n' in text
    assert "User=hdfs\n" in text
    assert "Restart=always\n" in text


def test_version_is_that_of_the_jars(machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert hadoop_node.version() == "3.5.0"
    monkeypatch.setattr(hadoop, "HOME", tmp_path / "nowhere")
    assert hadoop_node.version() == ""


def test_software_is_java_users_and_the_distribution(machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[tuple[str, Path]] = []

    def ensure_system_user(name: str, *, home: Path, groups: list[str]) -> bool:
        made.append((name, home))
        return True

    monkeypatch.setattr(hadoop_node, "ensure_system_user", ensure_system_user)
    installed: list[tuple[str, str]] = []
    monkeypatch.setattr(distribution, "ensure_installed", lambda archive, name: installed.append((archive.name, name)))
    hadoop_node.ensure_software(tmp_path / "new.tar.gz", ["hdfs", "yarn"])
    assert made == [("hdfs", tmp_path / "data" / "hdfs"), ("yarn", tmp_path / "data" / "yarn")]
    assert installed == [("new.tar.gz", "hadoop")]


class Handler(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def web():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_beans_of_a_daemon(web: int):
    Handler.answers = {
        "/jmx?qry=a": (200, json.dumps({"beans": [{"x": 1}]}).encode()),
        "/jmx?qry=none": (200, json.dumps({"beans": []}).encode()),
        "/jmx?qry=starting": (503, b"not yet"),
        "/jmx?qry=page": (200, b"<html>"),
    }
    assert hadoop_node.get_bean("127.0.0.1", web, "a") == {"x": 1}
    for name in ("none", "starting", "page", "unknown"):
        assert hadoop_node.get_bean("127.0.0.1", web, name) is None
    assert hadoop_node.get_json("http://127.0.0.1:9/") is None
