"""The interface ``mqtt`` at both ends, by the charms that its documentation shows."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import ops
import pytest
from ops import testing

from iot_charm.errors import InvalidDatabagError
from iot_charm.interfaces.mqtt import MqttGateway, MqttNode

PAGE = Path(__file__).parents[3] / "docs/reference/interface-mqtt.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def example(class_name: str, **globals_: Any) -> type[ops.CharmBase]:
    """Return the charm of that name from the page; ``globals_`` is what the page leaves to the reader."""
    (source,) = [each for each in EXAMPLES if f"class {class_name}" in each]
    namespace: dict[str, Any] = dict(globals_)
    exec(compile(source, str(PAGE), "exec"), namespace)
    return namespace[class_name]


@pytest.fixture
def configured() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def meter(configured: list[dict[str, Any]]) -> testing.Context[ops.CharmBase]:
    charm = example("MeterCharm", configure_workload=lambda **settings: configured.append(settings))
    return testing.Context(charm, meta={"name": "meter", "requires": {"mqtt": {"interface": "mqtt"}}})


def answered(secret: testing.Secret, **fields: Any) -> testing.Relation:
    told = {
        "host": "10.0.0.2",
        "port": 1883,
        "site": "site-1",
        "gateway": "gateway-0",
        "credentials": {"meter/0": secret.id},
        "of_a_later_version": True,
        **fields,
    }
    databag = {key: json.dumps(value) for key, value in told.items()}
    return testing.Relation("mqtt", remote_app_name="gateway", remote_units_data={0: databag})


SECRET = testing.Secret({"username": "meter-0", "password": "first"})


def test_a_requirer_asks_under_its_name(meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]]):
    relation = testing.Relation("mqtt", remote_app_name="gateway")
    out = meter.run(meter.on.relation_created(relation), testing.State(relations={relation}))
    assert json.loads(out.get_relation(relation.id).local_unit_data["node"]) == "meter-0"
    assert configured == []


def test_a_requirer_finds_all_that_it_needs(meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]]):
    relation = answered(SECRET, topic_prefix="plant/telemetry")
    meter.run(meter.on.relation_changed(relation), testing.State(relations={relation}, secrets={SECRET}))
    (found,) = configured
    assert (found["host"], found["port"], found["ca"]) == ("10.0.0.2", 1883, "")
    assert (found["topic"], found["user"], found["password"]) == ("plant/telemetry/meter-0", "meter-0", "first")


def test_a_requirer_is_told_of_tls(meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]]):
    relation = answered(SECRET, port=0, tls_port=8883, ca="-----CA-----")
    meter.run(meter.on.relation_changed(relation), testing.State(relations={relation}, secrets={SECRET}))
    assert (configured[0]["port"], configured[0]["ca"]) == (8883, "-----CA-----")


def test_a_requirer_follows_a_rotation(meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]]):
    relation = answered(SECRET)
    rotated = dataclasses.replace(SECRET, latest_content={"username": "meter-0", "password": "second"})
    meter.run(meter.on.secret_changed(rotated), testing.State(relations={relation}, secrets={rotated}))
    assert configured[0]["password"] == "second"


def test_a_requirer_waits_for_its_own_identity(meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]]):
    former = testing.Secret({"username": "another-name", "password": "first"})
    for relation in (answered(former), answered(former, credentials={"meter/1": former.id})):
        meter.run(meter.on.relation_changed(relation), testing.State(relations={relation}, secrets={former}))
    assert configured == []


def test_a_provider_gives_every_unit_an_identity_of_its_own():
    let_in: dict[str, str] = {}
    charm = example("BrokerCharm", let_in=lambda username, password: let_in.update({username: password}))
    context = testing.Context(charm, meta={"name": "broker", "provides": {"mqtt": {"interface": "mqtt"}}})
    units = {0: {"node": '"kitchen"'}, 1: {"node": '"cellar"'}, 2: {}}
    relation = testing.Relation("mqtt", remote_app_name="meter", remote_units_data=units)
    out = context.run(context.on.relation_changed(relation, remote_unit=0), testing.State(relations={relation}))
    assert set(let_in) == {"kitchen", "cellar"}
    secrets = {secret.label: secret for secret in out.secrets}
    assert secrets[f"mqtt-{relation.id}-meter/0"].remote_grants == {relation.id: {"meter/0"}}
    again = context.run(context.on.relation_changed(out.get_relation(relation.id), remote_unit=0), out)
    told = again.get_relation(relation.id).local_unit_data
    assert told == out.get_relation(relation.id).local_unit_data
    assert set(json.loads(told["credentials"])) == {"meter/0", "meter/1"}


def test_the_page_names_every_key():
    text = PAGE.read_text()
    for model in (MqttNode, MqttGateway):
        for name in model.model_fields:
            assert f"`{name}`" in text


@pytest.mark.parametrize(
    ("field", "value"),
    [("port", 70000), ("tls_port", -1), ("client_certificates", "maybe"), ("credentials", "secret:x")],
)
def test_what_a_gateway_can_not_say(
    meter: testing.Context[ops.CharmBase], configured: list[dict[str, Any]], field: str, value: Any
):
    relation = answered(SECRET, **{field: value})
    state = testing.State(relations={relation}, secrets={SECRET})
    with meter(meter.on.update_status(), state) as manager:
        found = manager.charm.model.relations["mqtt"][0]
        with pytest.raises(InvalidDatabagError, match=rf"gateway/0 published {field}="):
            MqttGateway.read(found, next(iter(found.units)))
