"""What the workload modules write; systemd, apt and mosquitto's own programs are replaced."""

import base64
import dataclasses
import getpass
import hashlib
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

import mosquitto
import relay
from iot_gateway import config as relay_config

BROKER = mosquitto.Settings("10.0.0.1", 1883, "site/telemetry")
RELAY = relay.Settings(
    site="site-1",
    gateway="gateway-0",
    topic_prefix="telemetry",
    mqtt_port=1883,
    batch_size=1000,
    batch_age=500,
    batch_encoding="gzip",
    outbox_max_bytes=2**30,
    log_level="INFO",
    amqp_host="10.0.0.2",
    amqp_port=5672,
    amqp_username="gateway",
    vhost="iot",
    exchange="iot.telemetry",
    dead_letter_exchange="iot.dead-letters",
)


class Services:
    """Takes the place of systemd."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running: set[str] = set()
        self.units: dict[str, str] = {}

    def ensure_unit(self, name: str, text: str) -> bool:
        changed = self.units.get(name) != text
        self.units[name] = text
        return changed

    def ensure_running(self, name: str, *, restart: bool) -> bool:
        if name in self.running and not restart:
            return False
        self.calls.append(f"{'restart' if name in self.running else 'start'} {name}")
        self.running.add(name)
        return True

    def reload(self, name: str) -> bool:
        self.calls.append(f"reload {name}")
        return True


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Services:
    fake = Services()
    for module in (mosquitto, relay):
        monkeypatch.setattr(module.services, "ensure_running", fake.ensure_running)
        monkeypatch.setattr(module.systemd, "service_reload", fake.reload)
    monkeypatch.setattr(relay.services, "ensure_unit", fake.ensure_unit)
    monkeypatch.setattr(mosquitto.packages, "ensure_packages", lambda *_: False)
    monkeypatch.setattr(mosquitto, "OWNER", getpass.getuser())
    monkeypatch.setattr(
        mosquitto, "_hash", lambda users: {user: hashed(user, password) for user, password in users.items()}
    )
    for name in ("CONFIGURATION", "PASSWORDS", "ACL"):
        monkeypatch.setattr(mosquitto, name, tmp_path / name.lower())
    monkeypatch.setattr(relay, "USER", getpass.getuser())
    monkeypatch.setattr(relay, "ensure_system_user", lambda *_, **__: False)
    monkeypatch.setattr(relay, "DIRECTORY", tmp_path)
    monkeypatch.setattr(relay, "SECRETS", tmp_path / "secrets.toml")
    monkeypatch.setattr(relay, "CONFIGURATION", tmp_path / "config.toml")
    return fake


def hashed(user: str, password: str, salt: bytes = b"salt") -> str:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def test_the_broker_starts_once_and_reads_again_only_what_changed(services: Services):
    mosquitto.ensure_broker(BROKER, {"iot-gateway": "a"})
    mosquitto.ensure_broker(BROKER, {"iot-gateway": "a"})
    mosquitto.ensure_broker(BROKER, {"iot-gateway": "a", "node-1": "b"})
    mosquitto.ensure_broker(dataclasses.replace(BROKER, port=1884), {"iot-gateway": "a", "node-1": "b"})
    assert services.calls == ["start mosquitto", "reload mosquitto", "restart mosquitto"]
    assert "listener 1884 10.0.0.1\n" in mosquitto.CONFIGURATION.read_text()
    assert "allow_anonymous false" in mosquitto.CONFIGURATION.read_text()


def test_the_password_file_holds_hashes_of_those_users_and_no_others(services: Services):
    mosquitto.ensure_broker(BROKER, {"iot-gateway": "secret-a", "node-1": "secret-b"})
    text = mosquitto.PASSWORDS.read_text()
    assert [line.split(":")[0] for line in text.splitlines()] == ["iot-gateway", "node-1"]
    assert "secret" not in text
    assert stat.S_IMODE(mosquitto.PASSWORDS.stat().st_mode) == 0o600
    mosquitto.ensure_broker(BROKER, {"iot-gateway": "secret-a"})
    assert "node-1" not in mosquitto.PASSWORDS.read_text() + mosquitto.ACL.read_text()


@pytest.mark.parametrize("present", ["", "node-1:plain\n", "node-1:$7$x$!$!\n", hashed("node-1", "other") + "\n"])
def test_a_hash_that_does_not_fit_is_made_anew(services: Services, present: str):
    assert mosquitto.password_lines({"node-1": "b"}, present) == hashed("node-1", "b") + "\n"


def test_a_hash_that_fits_stays(services: Services):
    line = hashed("node-1", "b", salt=b"another salt") + "\n"
    assert mosquitto.password_lines({"node-1": "b"}, line + "gone:x\n") == line


def test_passwords_are_no_arguments(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []

    def run(command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        path = Path(command[-1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == "node-1:secret\n"
        path.write_text("node-1:$7$...\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(mosquitto.subprocess, "run", run)
    assert mosquitto.password_lines({"node-1": "secret"}, "") == "node-1:$7$...\n"
    assert "secret" not in str(seen)


def test_a_failure_to_hash_is_told(monkeypatch: pytest.MonkeyPatch):
    failed = subprocess.CompletedProcess(["mosquitto_passwd"], 1, "", "no")
    monkeypatch.setattr(mosquitto.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(mosquitto.MosquittoError, match="no"):
        mosquitto.password_lines({"node-1": "secret"}, "")


def test_a_node_writes_on_its_own_topic_alone():
    rules = mosquitto.acl(BROKER, ["node-1"]).split("user ")
    assert "iot-gateway\ntopic read site/telemetry/#\n\n" in rules
    assert "node-1\ntopic write site/telemetry/node-1\ntopic write site/telemetry/node-1/#\n\n" in rules


def test_the_relay_can_read_its_configuration_and_it_holds_no_secret(services: Services):
    assert relay.ensure_relay(RELAY, ('mqtt-"secret"\\', "amqp-secret"))
    assert 'secret"' not in relay.CONFIGURATION.read_text()
    assert stat.S_IMODE(relay.SECRETS.stat().st_mode) == 0o600
    loaded = relay_config.load(relay.CONFIGURATION)
    assert (loaded.site, loaded.gateway) == ("site-1", "gateway-0")
    assert (loaded.batch.readings, loaded.batch.age_ms) == (1000, 500)
    listener: Any = loaded.listener_options("mqtt")
    uplink: Any = loaded.uplink_options()
    assert listener.password.get_secret_value() == 'mqtt-"secret"\\'
    assert uplink.password.get_secret_value() == "amqp-secret"
    assert (uplink.host, uplink.vhost, uplink.username) == ("10.0.0.2", "iot", "gateway")
    assert uplink.exchanges == {"telemetry": "iot.telemetry", "dead-letters": "iot.dead-letters"}
    assert relay.mqtt_password() == 'mqtt-"secret"\\'
    assert relay.is_installed()


def test_the_relay_reloads_for_settings_and_restarts_for_code(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    code = tmp_path / "code"
    (tmp_path / "old").mkdir()
    code.symlink_to(tmp_path / "old")
    monkeypatch.setattr(relay, "CODE", code)
    assert relay.ensure_relay(RELAY, ("a", "b"))
    assert not relay.ensure_relay(RELAY, ("a", "b"))
    assert relay.ensure_relay(dataclasses.replace(RELAY, batch_size=5), ("a", "b"))
    (tmp_path / "new").mkdir()
    code.unlink()
    code.symlink_to(tmp_path / "new")
    assert relay.ensure_relay(RELAY, ("a", "b"))
    assert services.calls == ["start iot-gateway", "reload iot-gateway", "restart iot-gateway"]
    assert "NoNewPrivileges=yes" in services.units["iot-gateway"]
    assert f"PYTHONPATH={tmp_path}/new\n" in services.units["iot-gateway"]


def test_installing(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    packages = tmp_path / "charm/venv/lib/python3.11/site-packages/iot_gateway"
    packages.mkdir(parents=True)
    monkeypatch.setattr(relay, "CODE", tmp_path / "iot-gateway")
    relay.install(tmp_path / "charm")
    assert (tmp_path / "iot-gateway/iot_gateway").is_dir()


def test_without_a_file_of_secrets_the_relay_gets_a_new_password(services: Services):
    assert relay.mqtt_password() != relay.mqtt_password()


@pytest.mark.parametrize(("answers", "connected"), [([False, True], True), ([False, False], False)])
def test_waiting_for_the_relay(monkeypatch: pytest.MonkeyPatch, answers: list[bool], connected: bool):
    def status() -> dict[str, Any]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return {"listeners": {"mqtt": {"connected": True}}, "uplink": {"connected": answer}}

    monkeypatch.setattr(relay, "status", status)
    assert relay.wait_until_connected(0.6) is connected


def test_a_relay_that_does_not_run_is_not_connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(relay, "SOCKET", tmp_path / "none")
    assert not relay.wait_until_connected(0)
