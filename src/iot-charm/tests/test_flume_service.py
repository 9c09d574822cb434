"""What is started, restarted and left alone, on files in a directory and a systemd in memory."""

import getpass
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iot_charm import services
from iot_charm.flume import agent as agent_module
from iot_charm.flume import recovery_daemon, service
from iot_charm.flume.agent import Agent
from iot_charm.flume.recovery import Pass
from iot_charm.flume.service import Companion, ConfFile
from iot_charm.flume.store import StoreError
from iot_charm.testing import Systemd

COMPANION = Companion("recovery", "Recovery", ["a.module", "--flag"], user="flume")


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    me = getpass.getuser()
    for name in ("opt", "etc", "var"):
        (tmp_path / name).mkdir()
    for module in (agent_module, service):
        monkeypatch.setattr(module, "USER", me)
        monkeypatch.setattr(module, "OPT", tmp_path / "opt")
    monkeypatch.setattr(agent_module, "ETC", tmp_path / "etc/flume")
    monkeypatch.setattr(agent_module, "VAR", tmp_path / "var/flume")
    monkeypatch.setattr(service, "VAR", tmp_path / "var/flume")
    monkeypatch.setattr(service, "ensure_java", lambda: Path("/jre"))
    monkeypatch.setattr(service, "ensure_system_user", lambda *_, **__: False)
    monkeypatch.setattr(service, "ensure_python_workload", lambda *_: False)
    return Systemd.put_in_place(monkeypatch, tmp_path)


@pytest.fixture
def agent(systemd: Systemd, tmp_path: Path) -> Agent:
    """An installed one."""
    jars = tmp_path / "flume/lib"
    jars.mkdir(parents=True)
    (jars / "flume-ng-node-1.11.0.jar").touch()
    archive = tmp_path / "flume.tar.gz"
    subprocess.run(["tar", "--create", "--gzip", "--file", archive, "--directory", tmp_path, "flume"], check=True)
    made = Agent("flume-hdfs/0")
    service.install(made, archive)
    return made


def starts(systemd: Systemd) -> int:
    return sum(call in {"service_start flume-hdfs-0", "service_restart flume-hdfs-0"} for call in systemd.calls)


def run(agent: Agent, content: str = "a = b\n", heap_mb: int = 512) -> bool:
    files = [ConfFile(agent.properties_file, content)]
    return service.ensure_agent(agent, description="An agent", heap_mb=heap_mb, files=files)


def test_install(agent: Agent):
    assert service.version(agent) == "1.11.0"
    assert agent.conf.is_dir()
    assert agent.data.is_dir()
    assert not service.is_configured(agent)


def test_nothing_is_installed(systemd: Systemd):
    assert service.version(Agent("other/0")) == ""


def test_restarts_only_for_a_change(agent: Agent, systemd: Systemd):
    assert run(agent)
    assert not run(agent)
    assert run(agent, "a = c\n")
    assert run(agent, "a = c\n", heap_mb=600)
    assert not run(agent, "a = c\n", heap_mb=600)
    assert starts(systemd) == 3
    assert agent.properties_file.read_text() == "a = c\n"


def test_hadoops_configuration_counts(agent: Agent, systemd: Systemd):
    agent.hadoop_conf.mkdir()
    run(agent)
    (agent.hadoop_conf / "hdfs-site.xml").write_text("<configuration/>")
    assert run(agent)


def test_an_agent_that_died_is_started(agent: Agent, systemd: Systemd):
    run(agent)
    systemd.running.clear()
    assert run(agent)


def test_a_hook_that_died_before_the_restart_is_made_up_for(
    agent: Agent, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
):
    run(agent)

    def fail(*_: Any, **__: Any) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(services, "ensure_running", fail)
        with pytest.raises(RuntimeError):
            run(agent, "a = c\n")
    assert run(agent, "a = c\n")
    assert starts(systemd) == 2


def test_stopped_by_an_operator_stays_stopped(
    agent: Agent, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    run(agent)
    service.stop(agent)
    assert not run(agent, "a = c\n")
    assert not service.is_running(agent)
    assert service.is_held(agent)
    service.start(agent)
    assert service.is_running(agent)
    assert not service.is_held(agent)
    service.restart(agent)
    assert starts(systemd) == 3


def test_the_companion_and_the_end_of_both(agent: Agent, systemd: Systemd, tmp_path: Path):
    run(agent)
    assert service.ensure_companion(agent, COMPANION, tmp_path)
    assert not service.ensure_companion(agent, COMPANION, tmp_path)
    text = services.unit_file("flume-hdfs-0-recovery").read_text()
    assert "ExecStart=/usr/bin/python3 -m a.module --flag\n" in text
    assert systemd.running == {"flume-hdfs-0", "flume-hdfs-0-recovery"}
    service.disable(agent, COMPANION)
    assert systemd.running == set()
    assert not service.is_configured(agent)
    run(agent)
    assert systemd.running == {"flume-hdfs-0"}


@pytest.mark.parametrize(
    ("script", "message"),
    [("exit 0", ""), ("echo refused; exit 1", "did not take an event: refused"), ("sleep 5", "did not answer in 1 s")],
)
def test_send_event(agent: Agent, script: str, message: str):
    launcher = agent.home / "bin/flume-ng"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\necho "$@" > {agent.data}/called\ncat {agent.data}/event-headers\n{script}\n')
    launcher.chmod(0o755)
    headers = {"event_dir": "smoke-test"}
    if message:
        with pytest.raises(service.AvroClientError, match=message):
            service.send_event(agent, host="h", port=1, headers=headers, body="b", timeout_s=1)
    else:
        service.send_event(agent, host="h", port=1, headers=headers, body="b", timeout_s=5)
    assert "avro-client --host h --port 1" in (agent.data / "called").read_text()
    assert not (agent.data / "event").exists()


@pytest.mark.parametrize(
    ("state", "invocation"), [("active", "abc"), ("deactivating", "abc"), ("inactive", ""), ("failed", "")]
)
def test_live_invocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, invocation: str):
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho InvocationID=abc\necho ActiveState={state}\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recovery_daemon.live_invocation("flume-hdfs-0") == invocation


@pytest.mark.parametrize(
    ("outcome", "code", "remembers"),
    [(Pass(), 0, True), (Pass(pending=["f"]), 1, False), (StoreError("away"), 1, False)],
    ids=["done", "pending", "hdfs away"],
)
def test_recovery_daemon_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Pass | StoreError, code: int, remembers: bool
):
    looked: list[int] = []

    def look(_: object, since: int) -> Pass:
        looked.append(since)
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    monkeypatch.setattr(recovery_daemon.Recovery, "run", look)
    memory = tmp_path / "memory"
    arguments = ["--web", "http://h:1", "--namenode", "h:2", "--unit", "u", "--service", "s", "--once"]
    arguments += ["--memory", str(memory)]
    assert recovery_daemon.main(arguments) == code
    assert memory.exists() == remembers
    recovery_daemon.main(arguments)
    assert (looked[1] > 0) == remembers
