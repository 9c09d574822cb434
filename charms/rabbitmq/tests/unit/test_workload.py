"""The workload module, with files of the test's own and a systemd that is not there."""

import dataclasses
import functools
import getpass
import grp
import os
from pathlib import Path

import pytest

import rabbitmq
from iot_charm.files import ensure_file
from iot_charm.testing import Systemd

SETTINGS = rabbitmq.Settings("127.0.0.1", "rabbitmq", 2**30, 2**30)


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    own = functools.partial(ensure_file, owner=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name)
    monkeypatch.setattr(rabbitmq, "ensure_file", lambda path, text, mode=0o644, **_: own(path, text, mode=mode))
    monkeypatch.setattr(rabbitmq, "_CONFIG", tmp_path)
    monkeypatch.setattr(rabbitmq, "_DROP_IN", tmp_path / "drop-in" / "iot.conf")
    monkeypatch.setattr(rabbitmq, "_TLS", tmp_path / "tls")
    for name in ("_CERTIFICATE", "_KEY", "_CA"):
        monkeypatch.setattr(rabbitmq, name, tmp_path / "tls" / name)
    return Systemd.put_in_place(monkeypatch, tmp_path)


def start(settings: rabbitmq.Settings) -> bool:
    rabbitmq.configure(settings)
    return rabbitmq.start(restart=False)


def test_what_a_hook_that_was_broken_off_wrote_is_followed(systemd: Systemd):
    assert start(SETTINGS)
    other = dataclasses.replace(SETTINGS, cluster_name="other")
    rabbitmq.configure(other)
    # Here the hook ended, and the next one begins.
    assert start(other)
    assert not start(other)
    assert systemd.calls.count(f"service_restart {rabbitmq.SERVICE}") == 1


def test_another_certificate_is_shown_without_a_restart(systemd: Systemd, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(rabbitmq, "_ctl", lambda *words: told.append(" ".join(words)))
    settings = dataclasses.replace(SETTINGS, tls=True)
    rabbitmq.ensure_certificate("one", "key", "ca")
    start(settings)
    assert (rabbitmq.kept_ca(), told) == ("ca", [])
    rabbitmq.ensure_certificate("two", "key", "ca")
    assert start(settings)
    assert told == ["eval ssl:clear_pem_cache()."]
    assert not start(settings)
    rabbitmq.remove_certificate()
    assert rabbitmq.kept_ca() == ""


def test_a_broker_that_does_not_start(systemd: Systemd, monkeypatch: pytest.MonkeyPatch):
    def fail(_: str) -> None:
        raise rabbitmq.systemd.SystemdError("no")

    monkeypatch.setattr(systemd, "service_start", fail)
    with pytest.raises(rabbitmq.RabbitmqError, match="does not start, see /var/log/rabbitmq: no"):
        start(SETTINGS)


def test_amqp_1_0_is_spoken_but_not_with_strangers(systemd: Systemd, tmp_path: Path):
    rabbitmq.configure(SETTINGS)
    assert (tmp_path / "enabled_plugins").read_text() == "[rabbitmq_amqp1_0,rabbitmq_management].\n"
    assert "amqp1_0.default_user = none\n" in (tmp_path / "rabbitmq.conf").read_text()
