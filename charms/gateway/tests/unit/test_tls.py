"""TLS: the certificate that the gateway asks for, what becomes of it, and the uplink."""

import dataclasses
import ssl
from pathlib import Path
from typing import Any

import pytest
from charmlibs.interfaces.tls_certificates import CertificateSigningRequest
from fakes import BROKER_SECRET, Machine, amqp, mqtt
from ops.testing import ActiveStatus, BlockedStatus, Context, Relation, State, TCPPort, WaitingStatus

import tls_files
from charm import GatewayCharm
from iot_charm.interfaces.mqtt import MqttGateway
from iot_charm.interfaces.rabbitmq import RabbitmqAnswer
from iot_charm.testing import Authority, asked_for

Gateway = Context[GatewayCharm]


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tls_files, "DIRECTORY", tmp_path)


@pytest.fixture
def certificates() -> Relation:
    return Relation("certificates", remote_app_name="authority")


def asked(context: Gateway, certificates: Relation, *relations: Relation, **config: Any) -> State:
    state = State(relations={certificates, amqp(), *relations}, secrets={BROKER_SECRET}, leader=True, config=config)
    return context.run(context.on.relation_created(certificates), state)


def answered(context: Gateway, before: State, certificates: Relation, authority: Authority) -> State:
    present = before.get_relation(certificates.id)
    assert isinstance(present, Relation)
    relation = authority.answer(present)
    others = {each for each in before.relations if each.id != relation.id}
    return context.run(
        context.on.relation_changed(relation), dataclasses.replace(before, relations={*others, relation})
    )


def told(state: State, relation: Relation) -> MqttGateway:
    databag = state.get_relation(relation.id).local_unit_data
    fields = {key: MqttGateway._decode(value) for key, value in databag.items() if "-" not in key}
    return MqttGateway(**fields)


def test_the_certificate_is_for_all_that_nodes_reach_it_by(context: Gateway, machine: Machine, certificates: Relation):
    out = asked(context, certificates, mqtt(u0="n"), certificate_names="gateway.example, 198.51.100.7")
    (request,) = asked_for(out.get_relation(certificates.id).local_unit_data)
    parsed = CertificateSigningRequest.from_string(request)
    assert parsed.common_name == "gateway-0"
    assert parsed.sans_ip == {"192.0.2.0", "198.51.100.7"}
    assert "gateway.example" in parsed.sans_dns
    assert out.unit_status == WaitingStatus("Waiting for a certificate (certificates)")
    assert machine.relay_settings is not None
    assert machine.relay_settings.tls is None
    # An option that can't be does not change what is asked for.
    bad = dataclasses.replace(out, config={"certificate_names": "gateway.example, 198.51.100.7, a/b", "site": "*"})
    out = context.run(context.on.relation_changed(out.get_relation(certificates.id)), bad)
    assert asked_for(out.get_relation(certificates.id).local_unit_data) == [request]


def test_with_a_certificate_nodes_are_told_of_tls(context: Gateway, machine: Machine, certificates: Relation):
    nodes, authority = mqtt(u0="sensor-node-0"), Authority()
    out = answered(context, asked(context, certificates, nodes), certificates, authority)
    assert isinstance(out.unit_status, ActiveStatus)
    assert out.opened_ports == {TCPPort(1883), TCPPort(8883)}
    found = told(out, nodes)
    assert (found.port, found.tls_port, found.client_certificates) == (1883, 8883, "off")
    assert found.ca.strip() == authority.ca
    tls = machine.relay_settings.tls  # pyright: ignore[reportOptionalMemberAccess]
    assert tls is not None
    assert (tls.port, tls.client_ca, tls.ca.strip()) == (8883, "", authority.ca)
    assert "PRIVATE" not in repr(tls)


@pytest.mark.parametrize("own_ca", [False, True])
def test_client_certificates(context: Gateway, machine: Machine, certificates: Relation, own_ca: bool):
    nodes, authority, other = mqtt(u0="n"), Authority(), Authority("nodes")
    config = {"client_certificates": "required", "mqtt_tls_port": 9883, "mqtt_port": 0}
    if own_ca:
        config["client_ca"] = other.ca
    out = answered(context, asked(context, certificates, nodes, **config), certificates, authority)
    tls = machine.relay_settings.tls  # pyright: ignore[reportOptionalMemberAccess]
    assert tls is not None
    assert (tls.client_certificates, tls.client_ca.strip()) == ("required", other.ca if own_ca else authority.ca)
    assert (told(out, nodes).port, told(out, nodes).client_certificates) == (0, "required")
    assert out.opened_ports == {TCPPort(9883)}


def test_the_former_certificate_serves_until_the_next_is_given(
    context: Gateway, machine: Machine, certificates: Relation, monkeypatch: pytest.MonkeyPatch
):
    out = answered(context, asked(context, certificates), certificates, Authority())
    former = machine.relay_settings.tls  # pyright: ignore[reportOptionalMemberAccess]
    assert former is not None
    kept = {
        tls_files.CERTIFICATE: former.certificate,
        tls_files.KEY: former.key,
        tls_files.LISTENER_CA: former.ca,
    }
    monkeypatch.setattr(tls_files, "kept", kept.get)
    moved = dataclasses.replace(out, config={"certificate_names": "elsewhere.example"})
    out = context.run(context.on.config_changed(), moved)
    assert out.unit_status == WaitingStatus("Waiting for a certificate (certificates)")
    assert machine.relay_settings is not None
    assert machine.relay_settings.tls == former


def test_tls_ends_with_the_relation(context: Gateway, machine: Machine, certificates: Relation):
    nodes = mqtt(u0="n")
    out = answered(context, asked(context, certificates, nodes), certificates, Authority())
    out = context.run(context.on.relation_broken(out.get_relation(certificates.id)), out)
    assert machine.relay_settings is not None
    assert machine.relay_settings.tls is None
    assert (told(out, nodes).tls_port, told(out, nodes).ca) == (0, "")
    assert out.opened_ports == {TCPPort(1883)}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"mqtt_port": 0}, "mqtt_port=0: nodes need TLS then"),
        ({"client_certificates": "optional"}, "client_certificates=optional: it needs TLS"),
    ],
)
def test_what_needs_a_certificate_says_so(context: Gateway, machine: Machine, config: dict[str, Any], reason: str):
    state = State(relations={amqp()}, secrets={BROKER_SECRET}, config=config)
    out = context.run(context.on.config_changed(), state)
    assert isinstance(out.unit_status, BlockedStatus)
    assert reason in out.unit_status.message


def test_what_an_added_node_is_told_of_tls(context: Gateway, machine: Machine, certificates: Relation):
    from ops.testing import PeerRelation

    out = answered(
        context,
        asked(context, certificates, PeerRelation("peers"), mqtt_port=0),  # pyright: ignore[reportArgumentType]
        certificates,
        authority := Authority(),
    )
    context.run(context.on.action("add-node", params={"name": "kitchen"}), out)
    assert context.action_results is not None
    assert "port" not in context.action_results
    assert context.action_results["tls-port"] == "8883"
    assert context.action_results["ca"].strip() == authority.ca


SSL_ANSWER = {"ssl_port": "5671", "ssl_ca": RabbitmqAnswer.encoded("-----PEM-----")}


def test_the_uplink_takes_tls_where_it_is_offered(context: Gateway, machine: Machine):
    relation = amqp(**SSL_ANSWER)
    context.run(context.on.relation_changed(relation), State(relations={relation}, secrets={BROKER_SECRET}))
    assert machine.relay_settings is not None
    assert (machine.relay_settings.amqp_port, machine.relay_settings.amqp_ca) == (5671, "-----PEM-----\n")


def test_the_uplink_waits_for_tls_where_it_is_required(context: Gateway, machine: Machine):
    config = {"uplink_tls": "required"}
    plain, secured = amqp(), amqp(**SSL_ANSWER)
    state = State(relations={plain}, secrets={BROKER_SECRET}, config=config)
    out = context.run(context.on.relation_changed(plain), state)
    assert out.unit_status == WaitingStatus("Waiting for RabbitMQ (amqp) to offer TLS, as uplink_tls=required wants it")
    assert machine.relay_settings is None
    state = State(relations={secured}, secrets={BROKER_SECRET}, config=config)
    out = context.run(context.on.relation_changed(secured), state)
    assert machine.relay_settings is not None
    former = machine.relay_settings
    state = State(relations={plain}, secrets={BROKER_SECRET}, config=config)
    context.run(context.on.relation_changed(plain), state)
    assert machine.relay_settings == former


def test_an_authority_that_can_not_be_decoded_blocks(context: Gateway, machine: Machine):
    relation = amqp(ssl_port="5671", ssl_ca="a PEM")
    state = State(relations={relation}, secrets={BROKER_SECRET})
    out = context.run(context.on.relation_changed(relation), state)
    assert isinstance(out.unit_status, BlockedStatus)
    assert "no base64" in out.unit_status.message


def test_the_files(tmp_path: Path):
    import getpass

    user = getpass.getuser()
    certificate, key = Authority().issue("gateway")
    files = {tls_files.CERTIFICATE: certificate, tls_files.KEY: key, tls_files.CLIENT_CA: ""}
    tls_files.ensure(files, user=user)
    assert (tmp_path / tls_files.KEY).stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / tls_files.CERTIFICATE, tmp_path / tls_files.KEY)
    assert tls_files.kept(tls_files.KEY) == key
    tls_files.ensure({}, user=user)
    assert list(tmp_path.iterdir()) == []
    assert tls_files.kept(tls_files.KEY) == ""
