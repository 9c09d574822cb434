import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_charm import services
from iot_charm.testing import Systemd


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    return Systemd.put_in_place(monkeypatch, tmp_path)


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


def test_systemd_reads_a_unit_before_it_starts_it(systemctl: Systemd):
    services.ensure_unit("x", "[Unit]\n")
    assert services.unit_file("x").read_text() == "[Unit]\n"
    services.ensure_running("x")
    services.ensure_unit("x", "[Unit]\n")
    services.ensure_running("x")
    assert systemctl.calls == ["daemon_reload", "service_enable x", "service_start x"]
    assert services.unit_file("x.socket").name == "x.socket"


def test_running_starts_restarts_or_leaves_alone(systemctl: Systemd):
    assert services.ensure_running("x")
    assert services.is_running("x")
    assert not services.ensure_running("x")
    assert services.ensure_running("x", restart=True)
    start = ["daemon_reload", "service_enable x", "service_start x"]
    assert systemctl.calls == [*start, "daemon_reload", "service_enable x", "service_restart x"]


def test_a_stopped_one_is_started_not_restarted(systemctl: Systemd):
    assert services.ensure_running("x", restart=True)
    systemctl.running.clear()
    assert services.ensure_running("x")
    assert systemctl.calls == ["daemon_reload", "service_enable x", "service_start x"] * 2


def change_unit(_: Path) -> None:
    services.unit_file("x").write_text("[Unit]\n")


def change_file(directory: Path) -> None:
    (directory / "file").write_text("other")


def remove_file(directory: Path) -> None:
    (directory / "file").unlink()


def change_directory(directory: Path) -> None:
    (directory / "conf/sub/file").write_text("other")


def add_to_directory(directory: Path) -> None:
    (directory / "conf/more").touch()


def install_anew(directory: Path) -> None:
    (directory / "software").unlink()
    (directory / "software").symlink_to("software-2")


@pytest.mark.parametrize(
    "change", [change_unit, change_file, remove_file, change_directory, add_to_directory, install_anew]
)
def test_one_is_restarted_when_what_it_was_started_from_differs(
    systemctl: Systemd, tmp_path: Path, change: Callable[[Path], None]
):
    origins = [tmp_path / name for name in ("file", "conf", "software")]
    (tmp_path / "file").write_text("text")
    (tmp_path / "conf/sub").mkdir(parents=True)
    (tmp_path / "conf/sub/file").write_text("text")
    (tmp_path / "software").symlink_to("software-1")
    services.ensure_running("x", origins)
    assert not services.ensure_running("x", origins)
    change(tmp_path)
    assert services.ensure_running("x", origins)
    assert systemctl.calls[-1] == "service_restart x"
    assert not services.ensure_running("x", origins)


def test_texts_are_origins_and_do_not_run_together(systemctl: Systemd):
    services.ensure_running("x", ["ab", "c"])
    assert services.ensure_running("x", ["a", "bc"])


def test_a_hook_that_died_before_the_restart_is_made_up_for(systemctl: Systemd, tmp_path: Path):
    """And one of a service that a package, or somebody, started from what nobody knows."""
    systemctl.running.add("x")
    assert services.ensure_running("x")
    services.ensure_unit("x", "[Unit]\n")
    assert not services.is_current("x")
    # Here the hook ended, and the next one begins.
    services.ensure_unit("x", "[Unit]\n")
    assert services.ensure_running("x")
    assert services.is_current("x")
    assert systemctl.calls.count("service_restart x") == 2


def test_a_restart_that_fails_is_tried_again(systemctl: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_: str) -> None:
        raise RuntimeError("the machine died")

    services.ensure_running("x", ["a"])
    with monkeypatch.context() as patch:
        patch.setattr(systemctl, "service_restart", fail, raising=False)
        with pytest.raises(RuntimeError):
            services.ensure_running("x", ["b"])
    assert services.ensure_running("x", ["b"])


def test_what_is_read_again_at_a_reload_costs_no_restart(systemctl: Systemd, tmp_path: Path):
    nodes = tmp_path / "nodes"

    def ensure(origin: str = "a") -> bool:
        return services.ensure_running("x", [origin], rereads=[nodes])

    assert ensure()
    nodes.write_text("one")
    assert ensure()
    assert systemctl.calls[-1] == "service_reload x"
    assert not ensure()
    nodes.write_text("two")
    assert ensure("b")
    assert systemctl.calls[-1] == "service_restart x"
    nodes.write_text("three")
    systemctl.running.clear()
    assert ensure("b")
    assert systemctl.calls[-1] == "service_start x"
    assert not ensure("b")


def test_stamps_are_for_nobody_else_and_go_with_the_service(systemctl: Systemd, tmp_path: Path):
    services.ensure_unit("x", "[Unit]\n")
    services.ensure_running("x")
    assert services.STARTED_FROM.stat().st_mode & 0o777 == 0o700
    services.disable("x")
    assert list(services.STARTED_FROM.iterdir()) == []


def test_stop_and_disable(systemctl: Systemd, tmp_path: Path):
    services.stop("x")
    services.disable("x")
    assert systemctl.calls == []
    services.ensure_unit("x", "[Unit]\n")
    services.ensure_running("x")
    services.disable("x")
    assert systemctl.calls[-3:] == ["service_stop x", "service_disable x", "daemon_reload"]
    assert not services.unit_file("x").exists()
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
