"""A unit's certificate: asked for, had, renewed, refused."""

import dataclasses
import json
from collections.abc import Iterator

import ops
import pytest
from charmlibs.interfaces.tls_certificates import Certificate, CertificateSigningRequest
from ops import testing

from iot_charm.base import ReconcilingCharm
from iot_charm.testing import Authority, asked_for
from iot_charm.tls import Material, UnitCertificate, Wanted, names

META = {"name": "lamp", "requires": {"certificates": {"interface": "tls-certificates"}}}
CONFIG = {"options": {"names": {"type": "string", "default": "10.0.0.1 lamp.example"}}}


class LampCharm(ReconcilingCharm[Material | None]):
    found: list[Material | None]

    def __init__(self, framework: ops.Framework) -> None:
        super().__init__(framework)
        self.certificate = UnitCertificate(self, "certificates", self.wanted)
        self.follow_relations("certificates")

    def wanted(self) -> Wanted:
        return Wanted(self.unit.name * 20, names(str(self.config["names"]).split(), ["127.0.0.1", "localhost", ""]))

    def ask(self) -> None:
        self.certificate.ask()

    def load_state(self) -> Material | None:
        return self.certificate.find()

    def apply(self, state: Material | None, *, restart: bool) -> None:
        self.found.append(state)

    def statuses(self, state: Material | None) -> Iterator[ops.StatusBase]:
        yield ops.ActiveStatus(repr(state))


Lamp = testing.Context[LampCharm]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Lamp:
    monkeypatch.setattr(LampCharm, "found", [], raising=False)
    return testing.Context(LampCharm, meta=META, config=CONFIG)


def asked(context: Lamp) -> tuple[testing.State, testing.Relation]:
    relation = testing.Relation("certificates", remote_app_name="authority")
    out = context.run(context.on.relation_created(relation), testing.State(relations={relation}))
    return out, out.get_relation(relation.id)  # pyright: ignore[reportReturnType]


def answered(context: Lamp, before: testing.State, relation: testing.Relation) -> testing.State:
    state = dataclasses.replace(before, relations={relation})
    return context.run(context.on.relation_changed(relation), state)


def test_it_asks_for_what_it_wants(context: Lamp):
    out, relation = asked(context)
    (request,) = asked_for(relation.local_unit_data)
    parsed = CertificateSigningRequest.from_string(request)
    assert parsed.common_name == ("lamp/0" * 20)[:64]
    assert (parsed.sans_ip, parsed.sans_dns) == ({"10.0.0.1"}, {"lamp.example"})
    assert LampCharm.found[-1] is None
    again = context.run(context.on.update_status(), out)
    assert asked_for(again.get_relation(relation.id).local_unit_data) == [request]


def test_it_has_certificate_key_and_authority(context: Lamp):
    authority = Authority()
    out, relation = asked(context)
    answered(context, out, authority.answer(relation))
    found = LampCharm.found[-1]
    assert found is not None
    assert found.ca.strip() == authority.ca
    assert found.certificate.count("BEGIN CERTIFICATE") == 1
    assert Certificate.from_string(found.certificate).sans_ip == {"10.0.0.1"}
    assert "PRIVATE KEY" in found.key
    assert "PRIVATE" not in repr(found)


def test_another_name_needs_another_certificate(context: Lamp):
    authority = Authority()
    out, relation = asked(context)
    out = answered(context, out, authority.answer(relation))
    key = LampCharm.found[-1].key  # pyright: ignore[reportOptionalMemberAccess]
    moved = dataclasses.replace(out, config={"names": "10.0.0.2"})
    out = context.run(context.on.config_changed(), moved)
    assert LampCharm.found[-1] is None
    relation = out.get_relation(relation.id)
    answered(context, out, authority.answer(relation))  # pyright: ignore[reportArgumentType]
    found = LampCharm.found[-1]
    assert found is not None
    assert Certificate.from_string(found.certificate).sans_ip == {"10.0.0.2"}
    assert found.key == key


def test_a_refusal_blocks_with_its_text(context: Lamp):
    out, relation = asked(context)
    (request,) = asked_for(relation.local_unit_data)
    error = {"code": 101, "name": "ip-not-allowed", "message": "no certificates for addresses"}
    refusals = json.dumps([{"csr": request, "error": error}])
    refused = dataclasses.replace(relation, remote_app_data={"request_errors": refusals})
    out = answered(context, out, refused)
    assert out.unit_status == testing.BlockedStatus(
        "no certificate is given (certificates): no certificates for addresses"
    )


def test_without_a_relation_there_is_none(context: Lamp):
    out = context.run(context.on.config_changed(), testing.State())
    assert out.unit_status == testing.ActiveStatus("None")


def test_a_broken_relation_gives_none(context: Lamp):
    out, relation = asked(context)
    out = answered(context, out, Authority().answer(relation))
    context.run(context.on.relation_broken(out.get_relation(relation.id)), out)
    assert LampCharm.found[-1] is None
