"""TLS at the broker: the certificate that it asks for, and what it tells those who are related."""

import dataclasses
from typing import Any

import pytest
from charmlibs.interfaces.tls_certificates import CertificateSigningRequest
from ops import testing

import rabbitmq
from charm import RabbitmqCharm
from iot_charm.interfaces.rabbitmq import RabbitmqAnswer
from iot_charm.testing import Authority, asked_for

Rabbit = testing.Context[RabbitmqCharm]


@pytest.fixture
def certificates() -> testing.Relation:
    return testing.Relation("certificates", remote_app_name="authority")


def asked(context: Rabbit, before: testing.State, *relations: testing.Relation) -> testing.State:
    state = dataclasses.replace(before, relations=set(relations))
    return context.run(context.on.relation_created(relations[0]), state)


def answered(context: Rabbit, before: testing.State, relation_id: int, authority: Authority) -> testing.State:
    relation = before.get_relation(relation_id)
    assert isinstance(relation, testing.Relation)
    others = {each for each in before.relations if each.id != relation_id}
    relation = authority.answer(relation)
    return context.run(
        context.on.relation_changed(relation), dataclasses.replace(before, relations={*others, relation})
    )


def test_tls_with_the_certificate_that_is_given(
    broker: Any,
    context: Rabbit,
    installed: testing.State,
    gateway: testing.Relation,
    certificates: testing.Relation,
):
    out = asked(context, installed, certificates, gateway)
    assert out.unit_status == testing.WaitingStatus("Waiting for a certificate (certificates)")
    assert len(asked_for(out.get_relation(certificates.id).local_unit_data)) == 1
    assert out.get_relation(gateway.id).local_unit_data["ssl_port"] == "0"
    assert broker.settings is not None
    assert not broker.settings.tls
    authority = Authority()
    out = answered(context, out, certificates.id, authority)
    assert isinstance(out.unit_status, testing.ActiveStatus)
    assert broker.settings.tls
    assert broker.certificate is not None
    assert "PRIVATE KEY" in broker.certificate[1]
    assert testing.TCPPort(5671) in out.opened_ports
    told = RabbitmqAnswer(**out.get_relation(gateway.id).local_unit_data)  # pyright: ignore[reportArgumentType]
    assert (told.port, told.ssl_port, told.ca.strip()) == (5672, 5671, authority.ca)


def test_the_certificate_is_for_where_nodes_reach_the_broker_through_gateways(
    broker: Any, context: Rabbit, installed: testing.State, certificates: testing.Relation
):
    asking = {"username": "gateway", "vhost": "iot", "reached-at": "10.9.8.7,gateway.example"}
    gateway = testing.Relation("amqp", remote_app_name="gateway", remote_units_data={0: asking})
    out = asked(context, installed, certificates, gateway)
    (pem,) = asked_for(out.get_relation(certificates.id).local_unit_data)
    request = CertificateSigningRequest.from_string(pem)
    assert "10.9.8.7" in (request.sans_ip or ())
    assert "gateway.example" in (request.sans_dns or ())


def test_the_former_certificate_serves_until_the_next_is_given(
    broker: Any, context: Rabbit, installed: testing.State, certificates: testing.Relation
):
    out = answered(context, asked(context, installed, certificates), certificates.id, Authority())
    former = broker.certificate
    relation = out.get_relation(certificates.id)
    assert isinstance(relation, testing.Relation)
    emptied = dataclasses.replace(relation, remote_app_data={})
    out = context.run(context.on.relation_changed(emptied), dataclasses.replace(out, relations={emptied}))
    assert out.unit_status == testing.WaitingStatus("Waiting for a certificate (certificates)")
    assert broker.settings is not None
    assert broker.settings.tls
    assert broker.certificate == former


def test_tls_ends_with_the_relation(
    broker: Any,
    context: Rabbit,
    installed: testing.State,
    gateway: testing.Relation,
    certificates: testing.Relation,
):
    out = answered(context, asked(context, installed, certificates, gateway), certificates.id, Authority())
    out = context.run(context.on.relation_broken(out.get_relation(certificates.id)), out)
    assert broker.settings is not None
    assert not broker.settings.tls
    assert broker.certificate is None
    assert out.get_relation(gateway.id).local_unit_data["ssl_port"] == "0"
    assert testing.TCPPort(5671) not in out.opened_ports


def test_the_configuration_of_tls():
    plain = rabbitmq.Settings("10.0.0.2", "rabbitmq", 2**30, 2**30)
    assert "ssl" not in plain.render()
    text = dataclasses.replace(plain, tls=True).render()
    assert "listeners.ssl.default = 5671\n" in text
    assert "ssl_options.keyfile = /etc/rabbitmq/tls/key.pem\n" in text
    assert "tlsv1.1" not in text
