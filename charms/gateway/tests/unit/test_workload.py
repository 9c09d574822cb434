"""What the workload modules write; systemd, apt and mosquitto's own programs are replaced."""

import dataclasses
import getpass
import grp
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import zmq

import mosquitto
import relay
import relay_settings
from iot_charm.services import unit_file
from iot_charm.testing import Systemd
from iot_gateway import config as relay_config
from iot_gateway.config import PlainConfig
from iot_gateway.nodes import Node, Nodes
from iot_gateway.nodes import file as nodes_file

RELAY = relay_settings.Settings(
    site="site-1",
    gateway="gateway-0",
    listener=relay_settings.Listener("10.0.0.1", 1883, "telemetry"),
    batch_size=1000,
    batch_age=500,
    batch_encoding="gzip",
    outbox=relay_settings.Outbox(2**30, "drop-oldest", 3600, "newest-first", 500),
    metrics_port=9100,
    log_level="INFO",
    amqp_host="10.0.0.2",
    amqp_port=5672,
    amqp_username="gateway",
    vhost="iot",
    exchange="iot.telemetry",
    dead_letter_exchange="iot.dead-letters",
)


class Services(Systemd):
    """Keeps what was done with services, without what surrounds it."""

    @property
    def done(self) -> list[str]:
        """Starts, restarts and reloads, as ``start x``."""
        words = ("service_start", "service_restart", "service_reload")
        return [call.removeprefix("service_") for call in self.calls if call.startswith(words)]

    def unit(self, name: str) -> str:
        return unit_file(name).read_text()


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Services:
    fake = Services.put_in_place(monkeypatch, tmp_path)
    monkeypatch.setattr(mosquitto.packages, "ensure_packages", lambda *_: False)
    monkeypatch.setattr(mosquitto, "OWNER", getpass.getuser())
    monkeypatch.setattr(mosquitto, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    for name in ("CONFIGURATION", "_FORMER_PASSWORDS", "ACL"):
        monkeypatch.setattr(mosquitto, name, tmp_path / name.lower())
    monkeypatch.setattr(relay_settings, "NODES", tmp_path / "nodes.json")
    monkeypatch.setattr(relay, "USER", getpass.getuser())
    monkeypatch.setattr(relay, "ensure_system_user", lambda *_, **__: False)
    monkeypatch.setattr(relay_settings, "DIRECTORY", tmp_path)
    monkeypatch.setattr(relay.tls_files, "DIRECTORY", tmp_path / "tls")
    monkeypatch.setattr(relay_settings, "SECRETS", tmp_path / "secrets.toml")
    monkeypatch.setattr(relay, "CONFIGURATION", tmp_path / "config.toml")
    return fake


def test_the_broker_starts_once_and_reads_again_only_what_changed(services: Services, monkeypatch: pytest.MonkeyPatch):
    mosquitto._FORMER_PASSWORDS.touch()
    mosquitto.ensure_broker("telemetry", "commands")
    mosquitto.ensure_broker("telemetry", "commands")
    mosquitto.ensure_broker("site/telemetry", "commands")
    assert services.done == ["start mosquitto", "reload mosquitto"]
    assert not mosquitto._FORMER_PASSWORDS.exists()
    assert stat.S_IMODE(mosquitto.ACL.stat().st_mode) == 0o600
    unit = services.unit("mosquitto")
    assert f"Group={mosquitto.GROUP}\n" in unit
    assert "RuntimeDirectoryMode=0750\n" in unit
    assert "UMask=0007\n" in unit
    monkeypatch.setattr(mosquitto, "configuration", lambda: "other")
    mosquitto.ensure_broker("site/telemetry", "commands")
    assert services.done[-1] == "restart mosquitto"


def test_the_broker_listens_on_a_socket_alone():
    listeners = [line for line in mosquitto.configuration().splitlines() if line.startswith("listener")]
    assert listeners == ["listener 0 /run/mosquitto/gateway.sock"]


def test_a_node_writes_on_its_own_topic_alone():
    assert mosquitto.acl("site/telemetry", "site/commands").splitlines()[1:] == [
        "user iot-gateway",
        "topic readwrite site/telemetry/#",
        "topic write site/commands/#",
        "",
        "pattern read site/commands/%u",
        "pattern write site/telemetry/%u",
        "pattern write site/telemetry/%u/#",
    ]


def test_the_nodes_file_holds_hashes_of_those_nodes_and_no_others(services: Services):
    relay.ensure_nodes(relay.Roster({"node-1": "secret-a", "node-2": "secret-b"}))
    text = relay_settings.NODES.read_text()
    assert "secret" not in text
    assert stat.S_IMODE(relay_settings.NODES.stat().st_mode) == 0o600
    nodes = Nodes.from_file(relay_settings.NODES)
    assert nodes.verify("node-1", b"secret-a")
    assert nodes.verify("node-2", b"secret-b")
    relay.ensure_nodes(relay.Roster({"node-1": "secret-a", "node-2": "secret-b"}))
    assert relay_settings.NODES.read_text() == text
    assert services.done == []
    relay.ensure_relay(RELAY, "a", relay.Roster({"node-1": "secret-a"}))
    relay.ensure_nodes(relay.Roster({"node-1": "secret-c"}))
    nodes = Nodes.from_file(relay_settings.NODES)
    assert nodes.verify("node-1", b"secret-c")
    assert nodes.lookup("node-2") is None
    assert services.done == ["start iot-gateway", "reload iot-gateway"]


def test_a_spoilt_nodes_file_is_written_anew(services: Services, caplog: pytest.LogCaptureFixture):
    relay_settings.NODES.write_text("spoilt")
    relay.ensure_nodes(relay.Roster({"node-1": "secret"}))
    assert Nodes.from_file(relay_settings.NODES).verify("node-1", b"secret")
    assert "written anew" in caplog.text


def test_the_relay_can_read_its_configuration_and_it_holds_no_secret(services: Services):
    assert relay.ensure_relay(RELAY, 'amqp-"secret"\\', relay.Roster({"node-1": "node-secret"}))
    assert "secret" not in relay.CONFIGURATION.read_text().replace("secrets", "")
    assert stat.S_IMODE(relay_settings.SECRETS.stat().st_mode) == 0o600
    loaded = relay_config.load(relay.CONFIGURATION)
    assert (loaded.site, loaded.gateway) == ("site-1", "gateway-0")
    assert (loaded.batch.readings, loaded.batch.age_ms) == (1000, 500)
    assert (loaded.outbox.max_bytes, loaded.outbox.full, loaded.outbox.max_age) == (2**30, "drop-oldest", 3600)
    assert (loaded.resend.order, loaded.resend.rate) == ("newest-first", 500)
    assert (loaded.metrics.address, loaded.metrics.port) == ("127.0.0.1", 9100)
    listener: Any = loaded.listener_options("mqtt")
    uplink: Any = loaded.uplink_options()
    assert (listener.addresses, listener.port) == (["127.0.0.1", "10.0.0.1"], 1883)
    assert (str(listener.broker), listener.topic_prefix) == ("/run/mosquitto/gateway.sock", "telemetry")
    assert uplink.password.text == 'amqp-"secret"\\'
    assert loaded.nodes_file == relay_settings.NODES
    assert Nodes.from_file(relay_settings.NODES).verify("node-1", b"node-secret")
    assert (uplink.host, uplink.vhost, uplink.username) == ("10.0.0.2", "iot", "gateway")
    assert uplink.exchanges == {"telemetry": "iot.telemetry", "dead-letters": "iot.dead-letters"}
    assert relay.is_installed()


def test_the_relay_finds_what_tls_needs(services: Services, tmp_path: Path):
    tls = relay_settings.Tls(8883, "certificate", "key", "ca", "client-ca", "required")
    secured = dataclasses.replace(RELAY, tls=tls, amqp_ca="broker-ca")
    assert relay.ensure_relay(secured, "a", relay.Roster())
    loaded = relay_config.load(relay.CONFIGURATION)
    listener: Any = loaded.listener_options("mqtt")
    uplink: Any = loaded.uplink_options()
    assert (listener.tls.port, listener.tls.client_certificates) == (8883, "required")
    files = (listener.tls.certificate, listener.tls.key, listener.tls.client_ca, uplink.tls.ca)
    assert [path.read_text() for path in files] == ["certificate", "key", "client-ca", "broker-ca"]
    renewed = dataclasses.replace(secured, tls=dataclasses.replace(tls, certificate="renewed"))
    assert relay.ensure_relay(renewed, "a", relay.Roster())
    assert services.done == ["start iot-gateway", "reload iot-gateway"]
    off = dataclasses.replace(renewed, tls=dataclasses.replace(tls, client_ca=""), amqp_ca="")
    assert relay.ensure_relay(off, "a", relay.Roster())
    assert "client_ca" not in relay.CONFIGURATION.read_text()
    assert {path.name for path in (tmp_path / "tls").iterdir()} == {"cert.pem", "key.pem", "ca.pem"}


def test_the_relay_finds_what_coap_needs(services: Services):
    coap = relay_settings.Coap(5683, allow_plain=False, lwm2m=True)
    tls = relay_settings.Tls(8883, "certificate", "key", "ca")
    assert relay.ensure_relay(dataclasses.replace(RELAY, coap=coap, tls=tls), "a", relay.Roster())
    listener: Any = relay_config.load(relay.CONFIGURATION).listener_options("coap")
    assert (listener.addresses, listener.port) == (["127.0.0.1", "10.0.0.1"], 5683)
    assert not listener.allow_plain
    assert listener.lwm2m is not None
    bare = dataclasses.replace(coap, allow_plain=True, lwm2m=False)
    assert relay.ensure_relay(dataclasses.replace(RELAY, coap=bare), "a", relay.Roster())
    listener = relay_config.load(relay.CONFIGURATION).listener_options("coap")
    assert listener.allow_plain
    assert listener.lwm2m is None
    assert services.done == ["start iot-gateway", "reload iot-gateway"]


def test_the_relay_finds_its_curve_key(services: Services):
    key = zmq.curve_keypair()[1].decode()
    relay.ensure_relay(dataclasses.replace(RELAY, zeromq=relay_settings.ZeroMq(5560, 0, key)), "a", relay.Roster())
    assert key not in relay.CONFIGURATION.read_text()
    options: Any = relay_config.load(relay.CONFIGURATION).listener_options("zeromq")
    assert (options.pull_port, options.router_port, options.secret_key.text) == (5560, 0, key)


def test_the_relay_finds_the_queue_of_nodes(services: Services):
    plain = dataclasses.replace(RELAY, amqp=relay_settings.Amqp("iot.nodes.site-1.gateway-0", "iot.node-commands"))
    relay.ensure_relay(plain, "amqp-password", relay.Roster())
    assert "amqp-password" not in relay.CONFIGURATION.read_text()
    options: Any = relay_config.load(relay.CONFIGURATION).listener_options("amqp")
    assert (options.host, options.port, options.vhost, options.tls) == ("10.0.0.2", 5672, "iot", None)
    assert (options.username, options.password.text) == ("gateway", "amqp-password")
    assert (options.queue, options.commands_exchange) == ("iot.nodes.site-1.gateway-0", "iot.node-commands")
    assert options.commands_queue_prefix == "iot.node-commands.gateway."
    relay.ensure_relay(dataclasses.replace(plain, amqp_ca="broker-ca"), "amqp-password", relay.Roster())
    options = relay_config.load(relay.CONFIGURATION).listener_options("amqp")
    assert options.tls.ca.read_text() == "broker-ca"


def test_the_relay_finds_the_rules_of_plain_topics(services: Services):
    rules = (
        PlainConfig(topic="telemetry/+/temperature", format="number", units={"temperature": "Cel"}),
        PlainConfig(topic='a/"\x7f', format="json", sensor="{3}", time="at"),
    )
    relay.ensure_relay(dataclasses.replace(RELAY, plain=rules), "a", relay.Roster())
    assert relay_config.load(relay.CONFIGURATION).plain == rules


def test_what_a_hook_that_was_broken_off_wrote_is_followed(services: Services, monkeypatch: pytest.MonkeyPatch):
    services.running.add("mosquitto")  # the package's own

    def broken_off(*_: Any, **__: Any) -> bool:
        raise InterruptedError

    whole = relay.services.ensure_running
    monkeypatch.setattr(relay.services, "ensure_running", broken_off)
    with pytest.raises(InterruptedError):
        mosquitto.ensure_broker("telemetry", "commands")
    monkeypatch.setattr(relay.services, "ensure_running", whole)
    mosquitto.ensure_broker("telemetry", "commands")
    mosquitto.ensure_broker("telemetry", "commands")
    assert services.done == ["restart mosquitto"]
    relay.ensure_relay(RELAY, "a", relay.Roster())
    changed = dataclasses.replace(RELAY, batch_size=5)
    with monkeypatch.context() as patched:
        patched.setattr(services, "service_reload", broken_off)
        with pytest.raises(InterruptedError):
            relay.ensure_relay(changed, "a", relay.Roster())
    assert relay.ensure_relay(changed, "a", relay.Roster())
    assert not relay.ensure_relay(changed, "a", relay.Roster())
    assert services.done == ["restart mosquitto", "start iot-gateway", "reload iot-gateway"]


def test_who_is_disabled_and_who_was_added(services: Services):
    added = Node("kitchen", keys={"zeromq-public-key": "x" * 40}, protocols=frozenset({"zeromq"}))
    relay.ensure_nodes(relay.Roster({"node-1": "a", "node-2": "b"}, (added,), frozenset({"node-2"})))
    nodes = nodes_file.read(relay_settings.NODES)
    assert nodes["kitchen"] == added
    assert [nodes[name].enabled for name in ("node-1", "node-2")] == [True, False]
    assert nodes["node-1"].protocols == {"mqtt"}


def test_the_relay_reloads_for_settings_and_restarts_for_code(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    code = tmp_path / "code"
    (tmp_path / "old").mkdir()
    code.symlink_to(tmp_path / "old")
    monkeypatch.setattr(relay, "CODE", code)
    assert relay.ensure_relay(RELAY, "a", relay.Roster({"node-1": "b"}))
    assert not relay.ensure_relay(RELAY, "a", relay.Roster({"node-1": "b"}))
    assert relay.ensure_relay(dataclasses.replace(RELAY, batch_size=5), "a", relay.Roster({"node-1": "b"}))
    (tmp_path / "new").mkdir()
    code.unlink()
    code.symlink_to(tmp_path / "new")
    assert relay.ensure_relay(RELAY, "a", relay.Roster({"node-1": "b"}))
    assert services.done == ["start iot-gateway", "reload iot-gateway", "restart iot-gateway"]
    assert "NoNewPrivileges=yes" in services.unit("iot-gateway")
    assert f"PYTHONPATH={tmp_path}/new\n" in services.unit("iot-gateway")


def test_installing(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    packages = tmp_path / "charm/venv/lib/python3.11/site-packages/iot_gateway"
    packages.mkdir(parents=True)
    monkeypatch.setattr(relay, "CODE", tmp_path / "iot-gateway")
    relay.install(tmp_path / "charm")
    assert (tmp_path / "iot-gateway/iot_gateway").is_dir()


@pytest.mark.parametrize(("answers", "connected"), [([False, True], True), ([False, False], False)])
def test_waiting_for_the_relay(monkeypatch: pytest.MonkeyPatch, answers: list[bool], connected: bool):
    def status() -> dict[str, Any]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return {"listeners": {"mqtt": {"connected": True}}, "uplink": {"connected": answer}}

    monkeypatch.setattr(relay, "status", status)
    assert relay.wait_until_connected(0.6) is connected


def test_a_relay_that_does_not_run_is_not_connected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(relay_settings, "SOCKET", tmp_path / "none")
    assert not relay.wait_until_connected(0)
