import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from iot_charm import services


class Systemctl:
    """A systemd that knows which services run, in the place of the library's functions."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        def call(*services: str) -> bool:
            self.calls.append(" ".join([name, *services]))
            if name in {"service_start", "service_restart"}:
                self.running.update(services)
            if name == "service_stop":
                self.running.difference_update(services)
            return True

        return call

    def service_running(self, name: str) -> bool:
        return name in self.running


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemctl:
    fake = Systemctl()
    monkeypatch.setattr(services, "systemd", fake)
    monkeypatch.setattr(services, "UNIT_DIRECTORY", tmp_path)
    return fake


def test_a_daemon_unit_holds_what_systemd_needs():
    text = services.daemon_unit(
        "A daemon",
        ["/opt/x/bin/run", "a b", "50%", ""],
        user="hdfs",
        environment={"B": '-Xmx1g -Dx="y"', "A": "1"},
        after=["other.service"],
        directives={"Restart": "always", "StateDirectory": "x"},
    )
    assert 'ExecStart=/opt/x/bin/run "a b" 50%% ""\n' in text
    assert 'Environment=A=1\nEnvironment="B=-Xmx1g -Dx=\\"y\\""\n' in text
    assert "User=hdfs\n" in text
    assert "After=network-online.target other.service\n" in text
    assert "Restart=always\n" in text
    assert "Restart=on-failure" not in text
    assert "StateDirectory=x\n" in text


def test_systemd_understands_the_unit(tmp_path: Path):
    unit = tmp_path / "iot-test.service"
    unit.write_text(
        services.daemon_unit("A daemon", ["/bin/echo", "a b", '"q"'], user="root", environment={"X": 'a "b" %c'})
    )
    verify = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True, check=False
    )
    assert (verify.returncode, verify.stderr) == (0, "")


def test_a_unit_is_written_once(systemctl: Systemctl, tmp_path: Path):
    assert services.ensure_unit("x", "[Unit]\n")
    assert (tmp_path / "x.service").read_text() == "[Unit]\n"
    assert not services.ensure_unit("x", "[Unit]\n")
    assert systemctl.calls == ["daemon_reload"]


def test_running_starts_restarts_or_leaves_alone(systemctl: Systemctl):
    assert services.ensure_running("x", restart=False)
    assert services.is_running("x")
    assert not services.ensure_running("x", restart=False)
    assert services.ensure_running("x", restart=True)
    assert systemctl.calls == ["service_enable x", "service_start x", "service_enable x", "service_restart x"]


def test_a_stopped_one_is_started_not_restarted(systemctl: Systemctl):
    assert services.ensure_running("x", restart=True)
    assert systemctl.calls == ["service_enable x", "service_start x"]


def test_stop_and_disable(systemctl: Systemctl, tmp_path: Path):
    services.stop("x")
    services.disable("x")
    assert systemctl.calls == []
    services.ensure_unit("x", "[Unit]\n")
    services.ensure_running("x", restart=False)
    services.disable("x")
    assert systemctl.calls[-3:] == ["service_stop x", "service_disable x", "daemon_reload"]
    assert not (tmp_path / "x.service").exists()
    systemctl.running.add("of-a-package")
    services.disable("of-a-package")
    assert not services.is_running("of-a-package")


def test_waits_for_a_port_that_opens_later():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert not services.wait_for_port("127.0.0.1", port, 0)
        later = threading.Timer(0.3, listener.listen)
        later.start()
        begun = time.monotonic()
        assert services.wait_for_port("127.0.0.1", port, 10)
        assert time.monotonic() - begun < 5
        later.join()


def test_waits_until_a_condition_holds():
    answers = iter([False, False, True])
    assert services.wait_until(lambda: next(answers), 5, interval_s=0.01)
    assert not services.wait_until(lambda: False, 0.03, interval_s=0.01)
