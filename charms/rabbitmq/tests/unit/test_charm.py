import dataclasses
import json
import re

import pytest
from ops import testing

from charm import RabbitmqCharm
from iot_charm.interfaces.rabbitmq import RabbitmqAnswer, encode_nodes, nodes_digest
from management import Queue
from topology import DEAD_LETTER_QUEUE, FULL, QUEUE

Context = testing.Context[RabbitmqCharm]


def secret_of(state: testing.State, label: str) -> testing.Secret:
    return next(secret for secret in state.secrets if secret.label == label)


def password_of(state: testing.State, label: str) -> str:
    return (secret_of(state, label).latest_content or {})["password"]


def related(state: testing.State, *relations: testing.Relation) -> testing.State:
    return dataclasses.replace(state, relations=relations)


def test_install_leaves_a_running_broker_with_an_administrator(broker, context: Context):
    state = context.run(context.on.install(), testing.State(leader=True))
    assert broker.is_running
    assert broker.admin_password == password_of(state, "admin")
    assert len(broker.admin_password) > 30
    assert broker.permissions["/", "iot_admin"] == FULL
    assert state.opened_ports == {testing.TCPPort(5672), testing.TCPPort(15672)}
    assert state.workload_version == "3.10.8"
    assert state.unit_status == testing.ActiveStatus("Ready (RabbitMQ 3.10.8)")


def test_a_second_run_changes_nothing(broker, context: Context, installed):
    again = context.run(context.on.update_status(), installed)
    assert broker.starts == 1
    assert "maintenance" not in {status.name for status in context.unit_status_history}
    assert password_of(again, "admin") == password_of(installed, "admin")


def test_each_relation_gets_a_user_with_what_it_needs(broker, context: Context, installed, flume, gateway):
    state = context.run(context.on.relation_changed(flume), related(installed, flume, gateway))
    assert set(broker.vhosts) == {"iot"}
    assert broker.users == {
        "flume": password_of(state, "user-flume"),
        "gateway": password_of(state, "user-gateway"),
    }
    assert broker.permissions["iot", "flume"].write == "^$"
    assert re.search(broker.permissions["iot", "flume"].read, "iot.telemetry")
    assert broker.permissions["iot", "gateway"].read == "^$"
    assert re.search(broker.permissions["iot", "gateway"].write, "iot.dead-letters")
    answer = state.get_relation(flume.id).local_unit_data
    assert answer["hostname"] == "192.0.2.0"
    assert answer["port"] == "5672"
    assert answer["batch-encoding"] == "gzip"
    assert "password" not in answer
    assert answer["password-secret"].endswith(secret_of(state, "user-flume").id.removeprefix("secret:"))
    assert broker.users["flume"] not in json.dumps(dict(answer))
    assert secret_of(state, "user-flume").remote_grants == {flume.id: {"flume-rabbitmq"}}
    assert secret_of(state, "user-gateway").remote_grants == {gateway.id: {"gateway"}}


def test_the_answer_stays_the_same_in_later_hooks(context: Context, installed, flume):
    first = context.run(context.on.relation_changed(flume), related(installed, flume))
    second = context.run(context.on.update_status(), first)
    assert second.get_relation(flume.id).local_unit_data == first.get_relation(flume.id).local_unit_data


def test_a_charm_that_says_nothing_of_access_gets_all_of_its_vhost(broker, context: Context, installed):
    public = testing.Relation(
        "amqp", remote_app_name="nova", remote_units_data={0: {"username": "nova", "vhost": "openstack"}}
    )
    context.run(context.on.relation_changed(public), related(installed, public))
    assert broker.permissions["openstack", "nova"] == FULL


def test_applications_that_ask_for_one_user_share_it(broker, context: Context, installed, flume, gateway):
    same = dataclasses.replace(
        gateway, remote_units_data={0: {"username": "flume", "vhost": "iot", "access": "publish"}}
    )
    state = context.run(context.on.relation_changed(flume), related(installed, flume, same))
    permissions = broker.permissions["iot", "flume"]
    assert re.search(permissions.write, "iot.telemetry")
    assert re.search(permissions.read, "iot.telemetry")
    assert secret_of(state, "user-flume").remote_grants.keys() == {flume.id, same.id}
    context.run(context.on.relation_broken(state.get_relation(same.id)), state)
    assert set(broker.users) == {"flume"}


def test_a_broken_relation_takes_its_user_and_secret_along(broker, context: Context, installed, flume, gateway):
    state = context.run(context.on.relation_changed(flume), related(installed, flume, gateway))
    state = context.run(context.on.relation_broken(state.get_relation(flume.id)), state)
    assert set(broker.users) == {"gateway"}
    assert {secret.label for secret in state.secrets} == {"admin", "user-gateway"}
    assert set(broker.vhosts) == {"iot"}, "what is queued stays"


def test_each_gateway_gets_a_queue_of_commands(broker, context: Context, installed, flume):
    asked = {"username": "gateway", "vhost": "iot", "access": "publish"}
    units = {number: {**asked, "commands": f"site-1.gateway-{number}"} for number in range(2)}
    gateway = testing.Relation("amqp", remote_app_name="gateway", remote_units_data=units)
    state = context.run(context.on.relation_changed(gateway), related(installed, flume, gateway))
    assert broker.commands == {"iot": ["site-1.gateway-0", "site-1.gateway-1"]}
    answer = state.get_relation(gateway.id).local_unit_data
    assert answer["commands-exchange"] == "iot.commands"
    assert answer["commands-queues"] == "iot.commands.site-1.gateway-0,iot.commands.site-1.gateway-1"
    permissions = broker.permissions["iot", "gateway"]
    for number in range(3):
        assert bool(re.search(permissions.read, f"iot.commands.site-1.gateway-{number}")) is (number < 2)
    assert not re.search(permissions.write, "iot.commands")
    assert "commands-queues" not in state.get_relation(flume.id).local_unit_data


def test_two_gateways_can_not_share_their_commands(broker, context: Context, installed):
    asked = {"username": "gateway", "vhost": "iot", "access": "publish", "commands": "site-1.main"}
    gateway = testing.Relation("amqp", remote_app_name="gateway", remote_units_data={0: asked, 1: asked})
    state = context.run(context.on.relation_changed(gateway), related(installed, gateway))
    assert state.unit_status == testing.BlockedStatus(
        "gateway/1 can't take the commands of site-1.main: gateway/0 does"
    )
    assert broker.commands == {"iot": ["site-1.main"]}


class TestNodes:
    """Nodes that speak AMQP, which gateways ask for."""

    NODES = encode_nodes({"a": "A" * 48, "b": "B" * 48})

    @pytest.fixture
    def secret(self) -> testing.Secret:
        return testing.Secret({"nodes": self.NODES}, owner=None)

    @pytest.fixture
    def gateway(self, secret: testing.Secret) -> testing.Relation:
        return self.asking(secret)

    def asking(self, secret: testing.Secret, **more: str) -> testing.Relation:
        asked = {"username": "gateway", "vhost": "iot", "access": "publish", "commands": "s.g0"}
        asked = {**asked, "nodes-secret": secret.id, **more}
        return testing.Relation("amqp", id=77, remote_app_name="gateway", remote_units_data={0: asked})

    def users(self, broker) -> dict[str, str]:
        return {user["name"]: user["password_hash"] for user in broker.declared["users"]}

    def test_have_users_and_the_gateway_their_queue(self, broker, context: Context, installed, secret, gateway):
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        assert isinstance(state.unit_status, testing.ActiveStatus)
        assert self.users(broker) == {"gateway.a": "A" * 48, "gateway.b": "B" * 48}
        assert broker.nodes == {"iot": ["s.g0"]}
        permissions = broker.permissions["iot", "gateway"]
        assert re.search(permissions.read, "iot.nodes.s.g0")
        assert re.search(permissions.write, "iot.node-commands")
        assert broker.topic_permissions["iot", "gateway"].keys() == {"iot.node-commands"}
        told = state.get_relation(gateway.id).local_unit_data
        answer = RabbitmqAnswer(
            hostname=told["hostname"],
            nodes_exchange=told["nodes-exchange"],
            nodes_queues=told["nodes-queues"],
            nodes_served=told["nodes-served"],
        )
        assert answer.nodes_queue("s.g0") == "iot.nodes.s.g0"
        assert answer.serves_nodes("gateway/0", self.NODES)
        assert told["node-commands-exchange"] == "iot.node-commands"

    def test_follow_their_secret(self, broker, context: Context, installed, secret, gateway):
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        nodes = encode_nodes({"b": "C" * 48})
        changed = dataclasses.replace(secret, latest_content={"nodes": nodes})
        secrets = {each for each in state.secrets if each.id != secret.id} | {changed}
        state = context.run(context.on.secret_changed(changed), dataclasses.replace(state, secrets=secrets))
        assert self.users(broker) == {"gateway.b": "C" * 48}
        served = state.get_relation(gateway.id).local_unit_data["nodes-served"]
        assert served == f"gateway/0:{nodes_digest(nodes)}"

    @pytest.mark.parametrize("content", [None, {"other": "x"}, {"nodes": '{"a.b": "x"}'}])
    def test_stay_while_their_secret_can_not_be_read(
        self, broker, context: Context, installed, secret, gateway, content: dict[str, str] | None
    ):
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        had = self.users(broker)
        served = state.get_relation(gateway.id).local_unit_data["nodes-served"]
        others = {each for each in state.secrets if each.id != secret.id}
        if content:
            others |= {testing.Secret(content, owner=None, id=secret.id)}
        state = context.run(context.on.update_status(), dataclasses.replace(state, secrets=others))
        assert self.users(broker) == had
        assert state.get_relation(gateway.id).local_unit_data["nodes-served"] == served
        assert isinstance(state.unit_status, testing.BlockedStatus)
        assert "gateway/0's secret of nodes" in state.unit_status.message

    def test_stay_while_their_gateway_asks_for_what_can_not_be(
        self, broker, context: Context, installed, secret, gateway
    ):
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        had, declared = dict(broker.users), {kind: list(entries) for kind, entries in broker.declared.items()}
        bad = dataclasses.replace(
            state.get_relation(gateway.id), remote_units_data={0: {**gateway.remote_units_data[0], "access": "root"}}
        )
        refused = context.run(context.on.relation_changed(bad), related(state, bad))
        assert "access='root'" in refused.unit_status.message
        assert (broker.users, broker.declared) == (had, declared)
        assert refused.get_relation(gateway.id).local_unit_data == state.get_relation(gateway.id).local_unit_data
        broken = context.run(context.on.relation_broken(refused.get_relation(gateway.id)), refused)
        assert (broker.users, self.users(broker)) == ({}, {})
        assert "user-gateway" not in {each.label for each in broken.secrets}

    def test_stay_while_another_unit_of_their_gateway_asks_for_what_can_not_be(
        self, broker, context: Context, installed, secret, gateway
    ):
        other = testing.Secret({"nodes": self.NODES}, owner=None)
        first = gateway.remote_units_data[0]
        second = {**first, "commands": "s.g1", "nodes-secret": other.id}
        gateway = dataclasses.replace(gateway, remote_units_data={0: first, 1: second})
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret, other})
        state = context.run(context.on.relation_changed(gateway), before)
        declared = {kind: list(entries) for kind, entries in broker.declared.items()}
        bad = dataclasses.replace(
            state.get_relation(gateway.id), remote_units_data={0: first, 1: {**second, "access": "root"}}
        )
        context.run(context.on.relation_changed(bad), related(state, bad))
        assert broker.declared == declared

    def test_go_with_the_relation(self, broker, context: Context, installed, secret, gateway):
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        context.run(context.on.relation_broken(state.get_relation(gateway.id)), state)
        assert self.users(broker) == {}
        assert broker.declared["queues"] == []

    def test_need_to_know_their_gateway(self, broker, context: Context, installed, secret):
        gateway = self.asking(secret, commands="")
        before = dataclasses.replace(installed, relations={gateway}, secrets={*installed.secrets, secret})
        state = context.run(context.on.relation_changed(gateway), before)
        assert self.users(broker) == {}
        assert set(broker.users) == {"gateway"}
        assert state.unit_status == testing.BlockedStatus(
            "gateway/0 names nodes, but not its site and gateway (commands)"
        )

    def test_gateways_without_nodes_get_no_queue_of_them(self, broker, context: Context, installed, secret):
        gateway = self.asking(secret, **{"nodes-secret": ""})
        state = context.run(context.on.relation_changed(gateway), related(installed, gateway))
        assert broker.nodes == {}
        told = state.get_relation(gateway.id).local_unit_data
        assert told["nodes-exchange"] == "iot.nodes"
        assert told.keys().isdisjoint({"nodes-queues", "nodes-served"})


def test_a_request_that_is_spoilt_after_its_user_went_brings_none_back(broker, context: Context, installed, flume):
    state = context.run(context.on.relation_changed(flume), related(installed, flume))
    left = dataclasses.replace(state.get_relation(flume.id), remote_units_data={})
    state = context.run(context.on.update_status(), related(state, left))
    assert broker.users == {}
    bad = dataclasses.replace(
        state.get_relation(flume.id), remote_units_data={0: {"username": "flume", "vhost": "iot", "access": "root"}}
    )
    state = context.run(context.on.relation_changed(bad), related(state, bad))
    assert broker.users == {}
    assert isinstance(state.unit_status, testing.BlockedStatus)


def test_a_user_that_moves_loses_its_old_vhost(broker, context: Context, installed, flume):
    state = context.run(context.on.relation_changed(flume), related(installed, flume))
    moved = dataclasses.replace(
        state.get_relation(flume.id), remote_units_data={0: {"username": "flume", "vhost": "lab", "access": "consume"}}
    )
    context.run(context.on.relation_changed(moved), related(state, moved))
    assert {vhost for vhost, user in broker.permissions if user == "flume"} == {"lab"}


@pytest.mark.parametrize(
    ("unit_data", "words"),
    [
        ({0: {"username": "iot_admin", "vhost": "iot"}}, ["username", "iot_admin"]),
        ({0: {"username": "flume", "vhost": "iot", "access": "root"}}, ["access", "root"]),
        ({0: {"username": "a", "vhost": "iot"}, 1: {"username": "b", "vhost": "iot"}}, ["several users", "a, b"]),
    ],
)
def test_a_request_that_cannot_be_met_blocks_with_the_reason(broker, context: Context, installed, unit_data, words):
    relation = testing.Relation("amqp", remote_app_name="flume-rabbitmq", remote_units_data=unit_data)
    state = context.run(context.on.relation_changed(relation), related(installed, relation))
    assert broker.users == {}
    assert isinstance(state.unit_status, testing.BlockedStatus)
    for word in words:
        assert word in state.unit_status.message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_encoding", "zstd"),
        ("stream_max_bytes", "many"),
        ("stream_max_bytes", "1MB"),
        ("stream_max_age", "1 week"),
        ("delivery_limit", 0),
        ("nodes_max_bytes", "0"),
        ("memory_watermark", "1MiB"),
        ("disk_free_limit", "0"),
    ],
)
def test_a_bad_option_blocks_and_the_last_good_configuration_stays(
    broker, context: Context, installed, flume, option: str, value: str | int
):
    good = broker.settings
    bad = dataclasses.replace(installed, config={option: value}, relations={flume})
    state = context.run(context.on.config_changed(), bad)
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert option in state.unit_status.message
    assert str(value) in state.unit_status.message
    assert broker.settings == good
    assert broker.is_running
    assert broker.users == {}


def test_options_reach_the_broker_and_the_relations(broker, context: Context, installed, flume):
    config = {
        "batch_encoding": "identity",
        "memory_watermark": "512MiB",
        "disk_free_limit": "2GB",
        "stream_max_bytes": "1GB",
        "stream_max_age": "12h",
        "delivery_limit": 5,
        "nodes_max_bytes": "30MB",
    }
    state = context.run(context.on.config_changed(), dataclasses.replace(installed, config=config, relations={flume}))
    assert broker.settings.memory_watermark == 512 * 2**20
    assert broker.settings.disk_free_limit == 2_000_000_000
    assert broker.starts == 2
    policies = broker.vhosts["iot"].policies()
    assert policies["iot.telemetry.stream"]["max-length-bytes"] == 1_000_000_000
    assert policies["iot.telemetry.stream"]["max-age"] == "12h"
    assert policies["iot.telemetry"]["delivery-limit"] == 5
    assert broker.vhosts["iot"].nodes_policy["max-length-bytes"] == 30_000_000
    assert state.get_relation(flume.id).local_unit_data["batch-encoding"] == "identity"


def test_a_further_unit_serves_nobody(broker, context: Context, flume):
    state = context.run(
        context.on.relation_changed(flume), testing.State(leader=False, planned_units=2, relations={flume})
    )
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "remove this unit" in state.unit_status.message
    assert not broker.installed
    assert state.get_relation(flume.id).local_unit_data.keys().isdisjoint({"password-secret", "hostname"})


def test_status_says_what_waits_and_what_is_short(broker, context: Context, installed):
    broker.found = [
        Queue("iot", QUEUE, "quorum", 2801, 20, 4, 489000),
        Queue("iot", DEAD_LETTER_QUEUE, "quorum", 3, 0, 0, 100),
    ]
    state = context.run(context.on.update_status(), installed)
    assert state.unit_status.message == "Ready (RabbitMQ 3.10.8, 2,821 batches queued, 3 dead letters)"
    broker.short_of = ("disk",)
    state = context.run(context.on.update_status(), installed)
    assert state.unit_status == testing.BlockedStatus("Publishers are blocked: the broker runs short of disk")


def test_status_says_that_the_broker_is_down(broker, context: Context, installed):
    state = context.run(context.on.stop(), installed)
    assert isinstance(state.unit_status, testing.BlockedStatus)
    assert "not running" in state.unit_status.message


def test_status_says_that_the_broker_does_not_answer(broker, context: Context, installed):
    broker.admin_password = "another"
    with context(context.on.collect_unit_status(), installed) as manager:
        state = manager.run()
    assert state.unit_status == testing.BlockedStatus("RabbitMQ does not answer: connection refused")


class TestActions:
    def test_smoke_test(self, broker, context: Context, installed, flume):
        state = context.run(context.on.relation_changed(flume), related(installed, flume))
        context.run(context.on.action("smoke-test"), state)
        assert context.action_results == {
            "result": "passed",
            "version": "3.10.8",
            "round-trip-ms": 1.2,
            "vhosts": "iot",
        }

    def test_smoke_test_fails_with_the_reason(self, broker, context: Context, installed):
        broker.smoke_error = "a message did not come back within 30 s"
        with pytest.raises(testing.ActionFailed, match="did not come back"):
            context.run(context.on.action("smoke-test"), installed)

    def test_credentials_open_the_management_page(self, broker, context: Context, installed):
        context.run(context.on.action("get-admin-credentials"), installed)
        assert context.action_results == {
            "url": "http://192.0.2.0:15672",
            "username": "iot_admin",
            "password": broker.admin_password,
        }

    @pytest.mark.parametrize(
        "action",
        ["smoke-test", "get-admin-credentials", "check-queues", "list-unconsumed-queues", "cluster-status"],
    )
    def test_fails_before_the_broker_is_there(self, broker, context: Context, action: str):
        with pytest.raises(testing.ActionFailed):
            context.run(context.on.action(action), testing.State())

    @pytest.mark.parametrize(
        ("params", "names"),
        [
            ({}, ["iot.telemetry", "iot.dead-letters", "other"]),
            ({"vhost": "lab"}, ["other"]),
            ({"queue": "dead"}, ["iot.dead-letters"]),
            ({"queue": "gateway.a"}, ["iot.node-commands.gateway.a"]),
        ],
    )
    def test_check_queues(self, broker, context: Context, installed, params: dict[str, str], names: list[str]):
        broker.found = [
            Queue("iot", QUEUE, "quorum", 2801, 20, 4, 489000),
            Queue("iot", DEAD_LETTER_QUEUE, "quorum", 3, 0, 0, 100),
            Queue("lab", "other", "classic", 0, 0, 0, 0),
            Queue("iot", "iot.node-commands.gateway.a", "classic", 1, 0, 0, 9),
        ]
        context.run(context.on.action("check-queues", params=params), installed)
        results = context.action_results
        assert [queue["name"] for queue in json.loads(results["json"])] == names
        assert results["count"] == len(names)
        assert results["dead-letters"] == (3 if "iot.dead-letters" in names else 0)
        for name in names:
            assert name in results["queues"]
        if not params:
            assert re.search(r"iot +iot\.telemetry +quorum +2,801 +20 +4 +489,000", results["queues"])

    def test_check_queues_says_that_there_is_none(self, broker, context: Context, installed):
        with pytest.raises(testing.ActionFailed, match="no such queue"):
            context.run(context.on.action("check-queues", params={"queue": "nix"}), installed)

    def test_list_unconsumed_queues(self, broker, context: Context, installed):
        broker.found = [
            Queue("iot", QUEUE, "quorum", 0, 0, 4, 0),
            Queue("iot", DEAD_LETTER_QUEUE, "quorum", 3, 0, 0, 100),
        ]
        context.run(context.on.action("list-unconsumed-queues"), installed)
        assert [queue["name"] for queue in json.loads(context.action_results["json"])] == ["iot.dead-letters"]

    def test_cluster_status(self, broker, context: Context, installed):
        context.run(context.on.action("cluster-status"), installed)
        results = context.action_results
        assert results["running-nodes"] == "rabbit@localhost"
        assert results["listeners"] == "rabbit@localhost: amqp on 127.0.0.1:5672 (AMQP 0-9-1)"

    def test_rotation_gives_a_new_revision(self, broker, context: Context, installed, flume):
        state = context.run(context.on.relation_changed(flume), related(installed, flume))
        old = broker.users["flume"]
        rotated = context.run(context.on.action("rotate-service-user-password", params={"user": "flume"}), state)
        assert broker.users["flume"] != old
        assert password_of(rotated, "user-flume") == broker.users["flume"]
        later = context.run(context.on.update_status(), rotated)
        assert password_of(later, "user-flume") == broker.users["flume"], "the next hook keeps it"

    def test_rotation_refuses_a_user_that_is_not_a_relations(self, context: Context, installed, flume):
        state = context.run(context.on.relation_changed(flume), related(installed, flume))
        with pytest.raises(testing.ActionFailed, match="no related application has a user guest; there are: flume"):
            context.run(context.on.action("rotate-service-user-password", params={"user": "guest"}), state)
