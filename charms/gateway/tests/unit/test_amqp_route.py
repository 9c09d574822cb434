"""The units of the ways to RabbitMQ, and what becomes of them; systemd is replaced."""

import dataclasses
import subprocess
from pathlib import Path

import pytest

import amqp_route
from amqp_route import PLAIN, TLS, Route
from iot_charm import services
from iot_charm.testing import Systemd

ROUTE = Route(PLAIN, ("127.0.0.1", "fd00::1"), 5672, "10.0.0.2", 5673)
SOCKET, SERVICE = f"{PLAIN}.socket", f"{PLAIN}.service"


class Sockets(Systemd):
    """A systemd on whose machine a port can be taken."""

    taken = False

    def service_start(self, name: str) -> bool:
        assert SERVICE not in self.running, "a socket whose service runs can't be opened anew"
        if self.taken:
            raise amqp_route.systemd.SystemdError("Address already in use")
        return super().service_start(name)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sockets:
    fake = Sockets.put_in_place(monkeypatch, tmp_path)
    monkeypatch.setattr(amqp_route.systemd, "service_stop", fake.service_stop)
    return fake


def units() -> set[str]:
    return {path.name for path in services.UNIT_DIRECTORY.iterdir()}


def test_the_units_are_as_systemd_wants_them(tmp_path: Path):
    (tmp_path / SOCKET).write_text(amqp_route.socket_unit(ROUTE))
    (tmp_path / SERVICE).write_text(amqp_route.service_unit(ROUTE))
    checked = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / SOCKET, tmp_path / SERVICE], capture_output=True, text=True, check=True
    )
    assert checked.stderr == ""
    socket, service = amqp_route.socket_unit(ROUTE), amqp_route.service_unit(ROUTE)
    assert "ListenStream=127.0.0.1:5672\nListenStream=[fd00::1]:5672\n" in socket
    assert "--connections-max=10000 10.0.0.2:5673\nLimitNOFILE=60256\n" in service
    assert {"DynamicUser=yes", "ProtectSystem=strict", "PrivateTmp=yes", "NoNewPrivileges=yes"} <= {
        *service.split("\n")
    }


def test_a_port_is_opened_once_and_again_when_it_changes(systemd: Sockets):
    amqp_route.ensure_routes([ROUTE])
    amqp_route.ensure_routes([ROUTE])
    assert amqp_route.is_open(PLAIN)
    assert not amqp_route.is_open(TLS)
    assert systemd.enabled == {SOCKET}
    assert units() == {SOCKET, SERVICE}
    assert systemd.calls.count(f"service_start {SOCKET}") == 1
    systemd.running.add(SERVICE)  # somebody connected
    amqp_route.ensure_routes([ROUTE])
    assert SERVICE in systemd.running
    amqp_route.ensure_routes([dataclasses.replace(ROUTE, broker="10.0.0.3")])
    assert SERVICE not in systemd.running
    assert systemd.calls.count(f"service_start {SOCKET}") == 2
    assert "10.0.0.3:5673" in services.unit_file(SERVICE).read_text()


def test_a_port_that_is_taken_is_tried_again(systemd: Sockets, caplog: pytest.LogCaptureFixture):
    systemd.taken = True
    amqp_route.ensure_routes([ROUTE])
    assert "port 5672 can't be listened on: Address already in use" in caplog.text
    assert not amqp_route.is_open(PLAIN)
    systemd.taken = False
    amqp_route.ensure_routes([ROUTE])
    assert amqp_route.is_open(PLAIN)


def test_what_a_hook_that_was_broken_off_wrote_is_followed(systemd: Sockets, monkeypatch: pytest.MonkeyPatch):
    amqp_route.ensure_routes([ROUTE])
    moved = dataclasses.replace(ROUTE, broker_port=5674)

    def broken_off() -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(systemd, "daemon_reload", broken_off)
        with pytest.raises(InterruptedError):
            amqp_route.ensure_routes([moved])
    systemd.running.add(SERVICE)  # which still leads to where it led
    amqp_route.ensure_routes([moved])
    assert SERVICE not in systemd.running
    assert amqp_route.is_open(PLAIN)


def test_a_route_that_is_not_wanted_leaves_nothing(systemd: Sockets):
    amqp_route.ensure_routes([ROUTE, dataclasses.replace(ROUTE, name=TLS, port=5671)])
    amqp_route.ensure_routes([ROUTE])
    assert units() == {SOCKET, SERVICE}
    assert not amqp_route.is_open(TLS)
    amqp_route.ensure_routes([])
    assert (systemd.running, systemd.enabled, units()) == (set(), set(), set())
    assert list(services.STARTED_FROM.iterdir()) == []


def test_a_stop_closes_the_ports_until_the_next_start(systemd: Sockets):
    amqp_route.stop()
    assert systemd.calls == []
    amqp_route.ensure_routes([ROUTE])
    systemd.running.add(SERVICE)
    amqp_route.stop()
    assert systemd.running == set()
    amqp_route.ensure_routes([ROUTE])
    assert amqp_route.is_open(PLAIN)
