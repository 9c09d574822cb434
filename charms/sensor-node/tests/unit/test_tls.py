"""TLS to the gateway, by what it offers and by what the operator wants."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from ops import testing

import node
from charm import SensorNodeCharm
from iot_charm.testing import Authority, Systemd
from iot_node.config import Config
from iot_node.tls import Tls

Sensor = testing.Context[SensorNodeCharm]
OFFER = {"tls_port": 8883, "ca": "-----CA-----"}


def offering(relation: testing.Relation, **fields: Any) -> testing.Relation:
    databag = {**relation.remote_units_data[0], **{name: json.dumps(value) for name, value in fields.items()}}
    return dataclasses.replace(relation, remote_units_data={0: databag})


def ran(
    context: Sensor, relation: testing.Relation, secret: testing.Secret, *more: Any, **config: Any
) -> testing.State:
    state = testing.State(relations={relation, *more}, secrets={secret}, config=config)
    return context.run(context.on.relation_changed(relation), state)


def test_what_is_offered_is_used(machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret):
    out = ran(context, offering(answered, **OFFER), secret)
    assert (machine.settings.port, machine.settings.tls) == (8883, node.Tls("-----CA-----"))
    assert out.unit_status == testing.ActiveStatus("Ready (sensortag every 5.0 s to gateway-0 over TLS)")


def test_no_tls_where_it_is_required(machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret):
    out = ran(context, answered, secret, tls="required")
    assert out.unit_status == testing.WaitingStatus("Waiting for gateway: it offers no TLS, and tls=required")
    assert machine.settings is None
    ran(context, offering(answered, **OFFER), secret, tls="required")
    ran(context, answered, secret, tls="required")
    assert machine.settings.tls == node.Tls("-----CA-----")


def test_the_end_of_tls_is_told(
    machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret, caplog: pytest.LogCaptureFixture
):
    ran(context, offering(answered, **OFFER), secret)
    out = ran(context, answered, secret)
    assert machine.settings.tls is None
    assert any("nothing is encrypted from now on" in line.message for line in context.juju_log)
    assert out.unit_status == testing.ActiveStatus("Ready (sensortag every 5.0 s to gateway-0)")


def test_a_gateway_that_does_not_listen_yet(
    machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret
):
    out = ran(context, offering(answered, port=0), secret)
    assert out.unit_status == testing.WaitingStatus("Waiting for gateway: it does not listen yet")


def test_a_gateway_that_wants_a_certificate(
    machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret
):
    gateway = offering(answered, **OFFER, client_certificates="required")
    out = ran(context, gateway, secret)
    assert out.unit_status == testing.BlockedStatus(
        "The gateway wants a certificate of this node: integrate certificates"
    )
    certificates = testing.Relation("certificates", remote_app_name="authority")
    out = ran(context, gateway, secret, certificates)
    assert out.unit_status == testing.WaitingStatus("Waiting for a certificate (certificates)")
    assert machine.settings is None
    relation = out.get_relation(certificates.id)
    assert isinstance(relation, testing.Relation)
    relation = Authority().answer(relation)
    state = dataclasses.replace(out, relations={gateway, relation})
    out = context.run(context.on.relation_changed(relation), state)
    assert isinstance(out.unit_status, testing.ActiveStatus)
    assert machine.settings.tls.certificate.startswith("-----BEGIN CERTIFICATE")
    assert "PRIVATE KEY" in machine.settings.tls.key


def test_another_password_restarts_the_agent(
    machine: Any, context: Sensor, answered: testing.Relation, secret: testing.Secret
):
    out = ran(context, answered, secret)
    rotated = dataclasses.replace(
        out.get_secret(id=secret.id), latest_content={"username": "sensor-node-0", "password": "second"}
    )
    state = dataclasses.replace(out, secrets={rotated})
    context.run(context.on.secret_changed(rotated), state)
    assert (machine.settings.password, machine.starts) == ("second", 2)


@pytest.fixture
def _etc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import getpass

    monkeypatch.setattr(node, "_CONFIG", tmp_path / "etc")
    monkeypatch.setattr(node, "_STATE", tmp_path / "var")
    monkeypatch.setattr(node, "USER", getpass.getuser())
    monkeypatch.setattr(node, "_PROGRAM", tmp_path / "opt")
    Systemd.put_in_place(monkeypatch, tmp_path)


@pytest.mark.usefixtures("_etc")
def test_the_agent_finds_its_files(tmp_path: Path):
    settings = node.Settings(
        instance="n-0",
        node="attic",
        profiles=("sensortag",),
        actuators=(),
        interval=1,
        log_level="info",
        host="10.1.2.3",
        port=8883,
        topic_prefix="telemetry",
        commands_prefix="commands",
        username="attic",
        password="hunter2",
        tls=node.Tls("ca", "certificate", "key"),
    )
    node.configure(settings)
    assert node.start(settings, restart=False)
    assert not node.start(settings, restart=False)
    files = [tmp_path / f"etc/n-0/{name}.pem" for name in ("ca", "certificate", "key")]
    config = Config.read(tmp_path / "etc/n-0/config.toml")
    assert config.gateway.tls == Tls(*files)
    assert [path.read_text() for path in files] == ["ca", "certificate", "key"]
    assert files[2].stat().st_mode & 0o777 == 0o600
    assert node.uses_tls("n-0")
    node.configure(dataclasses.replace(settings, tls=node.Tls("ca")))
    assert not files[1].exists()
    # Here a hook was broken off; the next one finds nothing to write.
    node.configure(dataclasses.replace(settings, tls=node.Tls("ca")))
    assert node.start(settings, restart=False)
    node.configure(dataclasses.replace(settings, tls=None))
    assert node.start(settings, restart=False)
    assert not node.uses_tls("n-0")
    assert Config.read(tmp_path / "etc/n-0/config.toml").gateway.tls is None
