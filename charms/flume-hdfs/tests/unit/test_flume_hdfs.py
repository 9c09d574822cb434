"""What the workload module asks of the agent and of HDFS."""

from pathlib import Path
from typing import Any

import pytest

import flume_hdfs
from iot_charm.flume.agent import Agent
from iot_charm.flume.hdfs import HdfsAgent
from iot_charm.interfaces.dfs import NameNode

AGENT = Agent("flume-hdfs/0")
NAMENODE = NameNode(
    host="10.0.0.4", port=8020, web_port=9870, datanodes=1, replication=1, block_size=1 << 27, users=["flume"]
)
WANTED = HdfsAgent("flume-hdfs-0", NAMENODE.uri, 4141, "gzip", 300, 0, 10, "text", "", 10000, 1000)


class Hdfs:
    """Files by path."""

    def __init__(self, files: Any):
        self.memory = files
        self.list, self.read = files.list, files.read

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        gone = [name for name in self.memory.files if name.startswith(path)]
        for name in gone:
            del self.memory.files[name]
        return bool(gone)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was asked of the machine, by name of the function."""
    asked: dict[str, Any] = {}

    def note(name: str, answer: Any):
        def call(*arguments: Any, **named: Any) -> Any:
            asked[name] = (arguments, named)
            return answer

        return call

    for name, answer in {
        "install": None,
        "version": "1.11.0",
        "ensure_agent": True,
        "ensure_companion": True,
        "disable": None,
        "is_running": True,
        "send_event": None,
    }.items():
        monkeypatch.setattr(flume_hdfs.service, name, note(name, answer))
    monkeypatch.setattr(flume_hdfs.hadoop, "write_client_conf", note("write_client_conf", True))
    monkeypatch.setattr(flume_hdfs.services, "wait_for_port", note("wait_for_port", True))
    monkeypatch.setattr(flume_hdfs, "SMOKE_TEST_S", 1)
    return asked


def test_configure(machine: dict[str, Any]):
    assert flume_hdfs.configure(
        AGENT, NAMENODE, WANTED, replication=1, open_for_s=1500, heap_mb=512, charm_dir=Path("/charm")
    )
    assert machine["write_client_conf"][1]["replication"] == 1
    (file,) = machine["ensure_agent"][1]["files"]
    assert file.path == Path("/etc/flume/flume-hdfs-0/flume.properties")
    command = " ".join(machine["ensure_companion"][0][1].command)
    assert "--web http://10.0.0.4:9870 --namenode 10.0.0.4:8020 --unit flume-hdfs-0" in command
    assert "--open-for 1500" in command


def test_the_rest_is_passed_on(machine: dict[str, Any]):
    assert flume_hdfs.install(AGENT, Path("/archive")) == "1.11.0"
    assert flume_hdfs.is_listening(4141)
    flume_hdfs.disable(AGENT)
    assert machine["disable"][0][1].service(AGENT) == "flume-hdfs-0-recovery"
    assert flume_hdfs.store(NAMENODE)


def test_smoke_test_sees_its_event_and_leaves_nothing(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, files: Any
):
    def send(_: Agent, *, body: str, headers: dict[str, str], **__: Any) -> None:
        files.files[f"/user/flume/{headers['event_dir']}/flume-hdfs-0/_FlumeData.1.tmp"] = body.encode()
        files.files[f"/user/flume/{headers['event_dir']}/flume-hdfs-0/FlumeData.1"] = f"{body}\n".encode()

    monkeypatch.setattr(flume_hdfs.service, "send_event", send)
    assert flume_hdfs.smoke_test(AGENT, Hdfs(files), 4141) < 1  # type: ignore[arg-type]
    assert files.files == {}


def test_smoke_test_without_an_event(machine: dict[str, Any], files: Any):
    files.files["/user/flume/smoke-test/flume-hdfs-1/FlumeData.1"] = b"another unit's\n"
    with pytest.raises(flume_hdfs.NotWorkingError, match="no event in /user/flume/smoke-test/flume-hdfs-0"):
        flume_hdfs.smoke_test(AGENT, Hdfs(files), 4141)  # type: ignore[arg-type]
    assert list(files.files) == ["/user/flume/smoke-test/flume-hdfs-1/FlumeData.1"]


def test_smoke_test_without_an_agent(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, files: Any):
    monkeypatch.setattr(flume_hdfs.service, "is_running", lambda _: False)
    with pytest.raises(flume_hdfs.NotWorkingError, match="does not run; see: journalctl -u flume-hdfs-0"):
        flume_hdfs.smoke_test(AGENT, Hdfs(files), 4141)  # type: ignore[arg-type]
