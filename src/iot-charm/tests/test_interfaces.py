"""The relation interfaces and the typed options, in two small charms."""

import json
from typing import Any

import ops
import pytest
from ops import testing
from pydantic import Field

from iot_charm import resources
from iot_charm.config import CharmConfig, load_config
from iot_charm.errors import DistributionError, InvalidConfigError, InvalidDatabagError
from iot_charm.interfaces.databag import each_unit, first_unit, own_address
from iot_charm.interfaces.dfs import DfsClient, NameNode
from iot_charm.interfaces.dfs_slave import NameNodeForWorkers
from iot_charm.interfaces.flume_agent import FlumeSink, FlumeSource
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.interfaces.mapred_slave import NodeManager, ResourceManagerForWorkers
from iot_charm.interfaces.mqtt import MqttGateway, MqttNode
from iot_charm.interfaces.rabbitmq import RabbitmqAnswer, RabbitmqRequest, decode_nodes, encode_nodes, nodes_digest
from iot_charm.interfaces.spark import SparkService
from iot_charm.interfaces.zeppelin import Notebook

META = {
    "name": "small",
    "requires": {"it": {"interface": "any"}},
    "resources": {"thing": {"type": "file", "filename": "thing.bin"}},
}
OPTIONS = {"options": {"size": {"type": "int", "default": 3}, "note": {"type": "string"}}}


class SmallConfig(CharmConfig):
    size: int = Field(ge=1, le=9)
    note: str = "none"


class SmallCharm(ops.CharmBase):
    """Does nothing; its tests look at the model through it."""


Context = testing.Context[SmallCharm]


@pytest.fixture
def context() -> Context:
    return testing.Context(SmallCharm, meta=META, config=OPTIONS)


def relation(*units: dict[str, str], remote: str = "other") -> testing.Relation:
    return testing.Relation("it", remote_app_name=remote, remote_units_data=dict(enumerate(units)))


def test_what_one_side_publishes_the_other_reads(context: Context):
    service = NameNode(
        host="10.0.0.1",
        port=8020,
        web_port=9870,
        datanodes=2,
        replication=2,
        block_size=1 << 27,
        users=["flume", "spark"],
    )
    ours = relation({})
    with context(context.on.update_status(), testing.State(relations={ours})) as manager:
        charm = manager.charm
        service.publish(charm.model.get_relation("it"), charm.unit)
        state = manager.run()
    written = dict(state.get_relation(ours.id).local_unit_data)
    assert {key: json.loads(written[key]) for key in ("host", "port", "users")} == {
        "host": "10.0.0.1",
        "port": 8020,
        "users": ["flume", "spark"],
    }
    theirs = relation(written)
    with context(context.on.update_status(), testing.State(relations={theirs})) as manager:
        assert first_unit(manager.charm, "it", NameNode) == service
    assert service.uri == "hdfs://10.0.0.1:8020"


def test_publishing_again_changes_no_key(context: Context):
    published = DfsClient(user="flume")
    state = testing.State(relations={relation({})})
    for _ in range(2):
        with context(context.on.update_status(), state) as manager:
            published.publish(manager.charm.model.get_relation("it"), manager.charm.unit)
            state = manager.run()
    (found,) = state.relations
    assert found.local_unit_data["user"] == '"flume"'


def test_an_unfinished_databag_is_none_a_wrong_one_an_error(context: Context):
    with context(context.on.update_status(), testing.State(relations={relation({"host": '"h"'})})) as manager:
        assert first_unit(manager.charm, "it", NameNodeForWorkers) is None
    wrong = {"user": '"Not A User"'}
    with (
        context(context.on.update_status(), testing.State(relations={relation(wrong)})) as manager,
        pytest.raises(InvalidDatabagError, match="other/0 published user='Not A User' on it"),
    ):
        first_unit(manager.charm, "it", DfsClient)
    for malformed in ("not json", '"unfinished'):
        with (
            context(context.on.update_status(), testing.State(relations={relation({"user": malformed})})) as manager,
            pytest.raises(InvalidDatabagError, match="malformed value on it"),
        ):
            first_unit(manager.charm, "it", DfsClient)


def test_units_come_in_the_order_of_relations_and_numbers(context: Context):
    def user(name: str) -> dict[str, str]:
        return {"user": json.dumps(name)}

    first = testing.Relation(
        "it", id=1, remote_app_name="b", remote_units_data={10: user("ten"), 2: user("two"), 3: {}}
    )
    second = testing.Relation("it", id=2, remote_app_name="a", remote_units_data={0: user("zero")})
    with context(context.on.update_status(), testing.State(relations={second, first})) as manager:
        found = [(unit.name, client.user) for _, unit, client in each_unit(manager.charm, "it", DfsClient)]
    assert found == [("b/2", "two"), ("b/10", "ten"), ("a/0", "zero")]


def test_own_address_is_that_of_the_endpoint(context: Context):
    with context(context.on.update_status(), testing.State(relations={relation({})})) as manager:
        assert own_address(manager.charm, manager.charm.model.get_relation("it")) == "192.0.2.0"


def test_plain_databags_are_strings_with_hyphens(context: Context):
    answer = RabbitmqAnswer(hostname="10.0.0.2", password_secret="secret:1", batch_encoding="identity")
    ours = relation({})
    with context(context.on.update_status(), testing.State(relations={ours})) as manager:
        answer.publish(manager.charm.model.get_relation("it"), manager.charm.unit)
        state = manager.run()
    written = state.get_relation(ours.id).local_unit_data
    assert written["password-secret"] == "secret:1"
    assert written["port"] == "5672"
    assert written["batch-encoding"] == "identity"
    with context(context.on.update_status(), testing.State(relations={relation(dict(written))})) as manager:
        assert first_unit(manager.charm, "it", RabbitmqAnswer) == answer


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (DfsClient, {"user": "flume"}),
        (NameNodeForWorkers, {"host": "h", "port": 1, "replication": 1, "block_size": 1 << 20, "cluster_id": "CID-1"}),
        (FlumeSource, {"host": "h", "port": 4141}),
        (FlumeSink, {"event_dir": "flume-rabbitmq", "batch_encoding": "gzip"}),
        (NodeManager, {"host": "h", "memory_mb": 512, "vcores": 1}),
        (ResourceManagerForWorkers, {"host": "h", "port": 1, "scheduler_port": 2, "tracker_port": 3, "web_port": 4}),
        (
            ResourceManager,
            {
                "host": "h",
                "port": 1,
                "scheduler_port": 2,
                "tracker_port": 3,
                "web_port": 4,
                "history_port": 5,
                "history_web_port": 6,
            },
        ),
        (MqttNode, {"node": "sensor-node-0"}),
        (MqttGateway, {"host": "h", "port": 1883, "site": "s", "gateway": "g", "credentials": {"a/0": "secret:1"}}),
        (RabbitmqRequest, {"username": "gateway", "vhost": "iot", "access": "publish", "nodes_secret": "secret:1"}),
        (
            SparkService,
            {
                "version": "4",
                "execution_mode": "local",
                "archive": "",
                "event_log_dir": "hdfs://h:1/d",
                "history_url": "http://h:18080",
                "driver_memory": "1g",
                "executor_memory": "1g",
            },
        ),
        (Notebook, {"name": "n", "note": {"paragraphs": [{"text": "%md hello"}]}}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_interface_survives_the_databag(context: Context, model: Any, values: dict[str, Any]):
    published, ours = model(**values), relation({})
    with context(context.on.update_status(), testing.State(relations={ours})) as manager:
        published.publish(manager.charm.model.get_relation("it"), manager.charm.unit)
        written = dict(manager.run().get_relation(ours.id).local_unit_data)
    with context(context.on.update_status(), testing.State(relations={relation(written)})) as manager:
        assert first_unit(manager.charm, "it", model) == published


def test_options_are_typed_and_named_when_bad(context: Context):
    with context(context.on.config_changed(), testing.State(config={"size": 4})) as manager:
        assert load_config(manager.charm, SmallConfig) == SmallConfig(size=4, note="none")
    with (
        context(context.on.config_changed(), testing.State(config={"size": 0})) as manager,
        pytest.raises(InvalidConfigError, match=r"^size=0: Input should be greater than or equal to 1$"),
    ):
        load_config(manager.charm, SmallConfig)


def test_a_resource_is_a_path_or_a_remedy(context: Context, tmp_path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "thing.bin"
    path.write_bytes(b"x")
    state = testing.State(resources={testing.Resource(name="thing", path=path)})
    with context(context.on.install(), state) as manager:
        assert resources.fetch(manager.charm, "thing") == path
    with context(context.on.install(), state) as manager:

        def none(_: str) -> None:
            raise ops.ModelError("ERROR could not download resource")

        monkeypatch.setattr(manager.charm.model.resources, "fetch", none)
        with pytest.raises(DistributionError, match=r"juju attach-resource small thing=FILE$"):
            resources.fetch(manager.charm, "thing")
        monkeypatch.undo()
        with pytest.raises(DistributionError, match="resource other is missing"):
            resources.fetch(manager.charm, "other")


def test_rabbitmq_tells_its_authority_as_the_public_charm_does():
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
    answer = RabbitmqAnswer(hostname="10.0.0.2", ssl_port=5671, ssl_ca=RabbitmqAnswer.encoded(pem))
    assert answer.ca == pem
    assert RabbitmqAnswer(hostname="10.0.0.2", ssl_ca=answer.ssl_ca).ca == ""
    assert RabbitmqAnswer(hostname="10.0.0.2", ssl_port=5671).ca == ""
    with pytest.raises(InvalidDatabagError, match="no base64"):
        _ = RabbitmqAnswer(hostname="10.0.0.2", ssl_port=5671, ssl_ca="a PEM").ca


def test_nodes_travel_in_a_secret_and_are_told_apart_by_a_digest():
    nodes = encode_nodes({"node-2": "B" * 48, "node-1": "A" * 48})
    assert decode_nodes(nodes) == {"node-1": "A" * 48, "node-2": "B" * 48}
    served = f"gateway/0:{nodes_digest('{}')},gateway/1:{nodes_digest(nodes)}"
    answer = RabbitmqAnswer(hostname="h", nodes_exchange="iot.nodes", nodes_queues="iot.nodes.s.a", nodes_served=served)
    assert answer.serves_nodes("gateway/1", nodes)
    assert not answer.serves_nodes("gateway/0", nodes)
    assert answer.nodes_queue("s.a") == "iot.nodes.s.a"
    assert answer.nodes_queue("s.b") == ""
    assert RabbitmqAnswer(hostname="h").nodes_queue("s.a") == ""


@pytest.mark.parametrize("nodes", ["", "[]", '{"a.b": "' + "A" * 48 + '"}', '{"a": "secret"}', '{"a": 1}'])
def test_a_secret_with_bad_nodes_is_refused_without_a_word_of_it(nodes: str):
    with pytest.raises(InvalidDatabagError, match="nodes holds a bad value") as refused:
        decode_nodes(nodes)
    assert "secret" not in str(refused.value)
    assert "AAAA" not in str(refused.value)


def test_a_request_lists_where_the_broker_is_reached():
    request = RabbitmqRequest(username="gateway", vhost="iot", reached_at="10.0.0.7,gateway.example")
    assert request.reached == ("10.0.0.7", "gateway.example")
    assert RabbitmqRequest(username="gateway", vhost="iot").reached == ()
