"""Configuration: what is read, what is refused, and that no secret shows."""

from pathlib import Path
from typing import Any

import pytest

from iot_gateway import config, registry
from iot_gateway.errors import ConfigError

GOOD = """
site = "site-1"
gateway = "gateway-0"
secrets_file = "secrets.toml"
[listeners.mqtt]
port = 1884
[uplink]
host = "broker"
username = "gateway"
"""
SECRETS = '[uplink]\npassword = "amqp-secret"\n'


def write(directory: Path, text: str = GOOD, secrets: str = SECRETS, mode: int = 0o600) -> Path:
    path = directory / "config.toml"
    path.write_text(text)
    (directory / "secrets.toml").write_text(secrets)
    (directory / "secrets.toml").chmod(mode)
    return path


def test_defaults_and_secrets(tmp_path: Path):
    loaded = config.load(write(tmp_path))
    assert (loaded.batch.readings, loaded.batch.age_ms, loaded.batch.encoding) == (1000, 500, "gzip")
    listener: Any = loaded.listener_options("mqtt")
    uplink: Any = loaded.uplink_options()
    assert (listener.addresses, listener.port, listener.tls) == (["127.0.0.1"], 1884, None)
    assert (uplink.host, uplink.password.text) == ("broker", "amqp-secret")
    telemetry, dead_letters = config.outbox_options(loaded)
    assert (telemetry.max_bytes, dead_letters.max_bytes) == (2**30, 2**26)
    assert "secret" not in repr(uplink)


def test_segments_fit_into_a_small_outbox(tmp_path: Path):
    loaded = config.load(write(tmp_path, GOOD + "[outbox]\nmax_bytes = 1048576\n"))
    options: Any = config.outbox_options(loaded)[0]
    assert options.segment_bytes == 131072


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (('"site-1"', '"a.b"'), "site: "),
        (('"site-1"', '"a.b'), "config.toml: "),
        (("[uplink]", "[batch]\nreadings = 0\n[uplink]"), "batch.readings: "),
        (("[uplink]", "[batch]\nsize = 0\n[uplink]"), "batch.size: "),
        (('host = "broker"', "prot = 1"), "uplink."),
        (("port = 1884", "port = 99999"), "listeners.mqtt.port: "),
        (("port = 1884", 'topic_prefix = "a/#"'), "listeners.mqtt.topic_prefix: "),
        (("[listeners.mqtt]", '[listeners.mqtt]\nplugin = "telex"'), "none called 'telex'; known: amqp, coap, mqtt"),
        (("[uplink]", '[uplink]\npassword = "x"'), "uplink.password belongs into"),
        (("[uplink]", '[listeners.zeromq]\nsecret_key = "x"\n[uplink]'), "listeners.zeromq.secret_key belongs into"),
        (("secrets.toml", "none.toml"), "none.toml: No such file"),
        (("[uplink]", "[outbox]\nmax_bytes = 1\n[uplink]"), "outbox.max_bytes: "),
    ],
)
def test_what_is_refused_and_why(tmp_path: Path, change: tuple[str, str], reason: str):
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, GOOD.replace(*change)))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert 'secret"' not in str(caught.value)


def test_secrets_that_others_could_read_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"its mode is 0644.*0600 is expected"):
        config.load(write(tmp_path, mode=0o644))


def test_a_missing_password_names_its_place(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"uplink\.password: it is missing"):
        config.load(write(tmp_path, secrets=""))


def test_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml")


def test_plugins_of_others_are_found_by_their_entry_points(monkeypatch: pytest.MonkeyPatch):
    class Entry:
        def __init__(self, found: object):
            self.found = found

        def load(self) -> object:
            return self.found

    mqtt = registry.listener("mqtt")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group, name: [Entry(mqtt)])
    assert registry.listener("telex") is mqtt
    assert registry.outbox("disk").__name__ == "DiskOutbox"
    with pytest.raises(ConfigError, match="'telex' is no Uplink"):
        registry.uplink("telex")
