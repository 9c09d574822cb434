"""The authority signs what is asked for, once, and knows itself again."""

import dataclasses
import json

import pytest
from charmlibs.interfaces.tls_certificates import (
    Certificate,
    CertificateRequestAttributes,
    CertificateSigningRequest,
    PrivateKey,
)
from ops import testing

from charm import AuthorityCharm

Context = testing.Context[AuthorityCharm]


@pytest.fixture
def context() -> Context:
    return testing.Context(AuthorityCharm)


def request(name: str) -> CertificateSigningRequest:
    return CertificateRequestAttributes(name, sans_ip=["10.0.0.1"]).generate_csr(PrivateKey.generate())


def asking(*requests: CertificateSigningRequest) -> testing.Relation:
    asked = json.dumps([{"certificate_signing_request": str(each), "ca": False} for each in requests])
    data = {0: {"certificate_signing_requests": asked}}
    return testing.Relation("certificates", remote_app_name="gateway", remote_units_data=data)


def given(state: testing.State, relation: testing.Relation) -> list[dict[str, str]]:
    return json.loads(state.get_relation(relation.id).local_app_data["certificates"])


def signed(context: Context) -> tuple[testing.State, testing.Relation]:
    relation = asking(request("gateway-0"))
    state = testing.State(relations={relation}, leader=True)
    return context.run(context.on.relation_changed(relation, remote_unit=0), state), relation


def test_a_request_is_signed_once(context: Context):
    out, relation = signed(context)
    (answer,) = given(out, relation)
    certificate = Certificate.from_string(answer["certificate"])
    assert (certificate.common_name, certificate.sans_ip) == ("gateway-0", {"10.0.0.1"})
    assert Certificate.from_string(answer["ca"]).common_name == "IoT analytics"
    assert out.unit_status == testing.ActiveStatus("Ready (1 certificate)")
    again = context.run(context.on.update_status(), out)
    assert given(again, relation) == [answer]


def test_the_authority_stays_the_same(context: Context):
    out, relation = signed(context)
    another = asking(request("rabbitmq-0"))
    state = dataclasses.replace(out, relations={*out.relations, another})
    out = context.run(context.on.relation_changed(another, remote_unit=0), state)
    assert given(out, another)[0]["ca"] == given(out, relation)[0]["ca"]
    context.run(context.on.action("get-ca"), out)
    assert context.action_results == {"ca": given(out, relation)[0]["ca"]}


def test_reissued_certificates_are_new_and_for_the_same(context: Context):
    out, relation = signed(context)
    (first,) = given(out, relation)
    out = context.run(context.on.action("reissue-certificates"), out)
    (second,) = given(out, relation)
    assert second["certificate"] != first["certificate"]
    assert second["certificate_signing_request"] == first["certificate_signing_request"]


def test_a_certificate_for_a_node(context: Context):
    out, _ = signed(context)
    context.run(context.on.action("issue-certificate", params={"common-name": "kitchen"}), out)
    assert context.action_results is not None
    certificate = Certificate.from_string(context.action_results["certificate"])
    assert certificate.common_name == "kitchen"
    assert certificate.matches_private_key(PrivateKey.from_string(context.action_results["key"]))


def test_the_smoke_test(context: Context):
    out, _ = signed(context)
    context.run(context.on.action("smoke-test"), out)
    assert context.action_results is not None
    assert context.action_results["ca-days-left"] > 3640


def test_the_smoke_test_fails_where_nobody_could_verify_what_is_signed(context: Context):
    out, _ = signed(context)
    (secret,) = out.secrets
    content = {**(secret.latest_content or {}), "private-key": str(PrivateKey.generate())}
    mixed = dataclasses.replace(secret, tracked_content=content, latest_content=content)
    with pytest.raises(testing.ActionFailed, match="can't be verified"):
        context.run(context.on.action("smoke-test"), dataclasses.replace(out, secrets={mixed}))


def test_only_the_leader_signs(context: Context):
    relation = asking(request("gateway-0"))
    state = testing.State(relations={relation})
    out = context.run(context.on.relation_changed(relation, remote_unit=0), state)
    assert out.unit_status == testing.ActiveStatus("Ready (the leader signs)")
    with pytest.raises(testing.ActionFailed, match="juju run authority/leader"):
        context.run(context.on.action("get-ca"), out)


def test_a_bad_option(context: Context):
    out = context.run(context.on.config_changed(), testing.State(leader=True, config={"certificate_days": 0}))
    assert out.unit_status.message.startswith("certificate_days=0")
