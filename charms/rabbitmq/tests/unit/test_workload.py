"""The workload module, with files of the test's own and a systemd that is not there."""

import functools
import getpass
import grp
import os
from pathlib import Path

import pytest

import rabbitmq
from iot_charm.files import ensure_file

SETTINGS = rabbitmq.Settings("127.0.0.1", "rabbitmq", 2**30, 2**30)


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[bool]:
    """Whether systemd was asked for a restart, at each start."""
    asked: list[bool] = []

    def ensure_running(_: str, *, restart: bool) -> bool:
        asked.append(restart)
        return restart

    own = functools.partial(ensure_file, owner=getpass.getuser(), group=grp.getgrgid(os.getgid()).gr_name)
    monkeypatch.setattr(rabbitmq, "ensure_file", lambda path, text, mode=0o644, **_: own(path, text, mode=mode))
    monkeypatch.setattr(rabbitmq, "ensure_running", ensure_running)
    monkeypatch.setattr(rabbitmq.systemd, "daemon_reload", lambda: None)
    monkeypatch.setattr(rabbitmq, "_CONFIG", tmp_path)
    monkeypatch.setattr(rabbitmq, "_STAMP", tmp_path / ".followed")
    monkeypatch.setattr(rabbitmq, "_DROP_IN", tmp_path / "drop-in" / "iot.conf")
    return asked


def test_what_a_hook_that_was_broken_off_wrote_is_followed(restarts: list[bool]):
    assert rabbitmq.configure(SETTINGS)
    # Here the hook ended, and the next one begins.
    rabbitmq.start(restart=rabbitmq.configure(SETTINGS))
    rabbitmq.start(restart=rabbitmq.configure(SETTINGS))
    assert restarts == [True, False]


def test_amqp_1_0_is_spoken_but_not_with_strangers(restarts: list[bool], tmp_path: Path):
    rabbitmq.configure(SETTINGS)
    assert (tmp_path / "enabled_plugins").read_text() == "[rabbitmq_amqp1_0,rabbitmq_management].\n"
    assert "amqp1_0.default_user = none\n" in (tmp_path / "rabbitmq.conf").read_text()
