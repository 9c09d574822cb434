import dataclasses
import re

import pytest

import topology
from rabbitmq import Settings
from topology import Limits, permissions

LIMITS = Limits(7, 1_000_000_000, "2D", 2_000_000)


def allowed(pattern: str, names: list[str]) -> list[str]:
    return [name for name in names if re.search(pattern, name)]


NAMES = [
    "iot.commands",
    "iot.commands.site-1.gateway-0",
    "iot.telemetry",
    "iot.dead-letters",
    "iot.telemetry.stream",
    "amq.default",
    "amq.topic",
    "iotXtelemetry",
    "",
]


@pytest.mark.parametrize(
    ("access", "configure", "write", "read"),
    [
        ({"publish"}, [""], ["iot.telemetry", "iot.dead-letters"], [""]),
        ({"consume"}, [""], [""], ["iot.telemetry", "iot.dead-letters", "iot.telemetry.stream"]),
        (
            {"publish", "consume"},
            [""],
            ["iot.telemetry", "iot.dead-letters"],
            ["iot.telemetry", "iot.dead-letters", "iot.telemetry.stream"],
        ),
        ({"command"}, [""], ["iot.commands"], [""]),
        ({"consume", "full"}, NAMES, NAMES, NAMES),
    ],
)
def test_access_permits_what_the_task_needs_and_no_more(access, configure, write, read):
    found = permissions(access)
    assert allowed(found.configure, NAMES) == configure
    assert allowed(found.write, NAMES) == write
    assert allowed(found.read, NAMES) == read


def test_a_gateway_reads_the_queues_of_its_own_commands_alone():
    found = permissions({"publish"}, ["site-1.gateway-0"])
    names = [*NAMES, "iot.commands.site-1.gateway-1", "iot.commands.site-1Xgateway-0"]
    assert allowed(found.read, names) == ["iot.commands.site-1.gateway-0"]
    commands = topology.COMMANDS
    assert re.search(commands.pattern, commands.queue("site-1.gateway-0"))
    assert not re.search(commands.pattern, topology.COMMANDS_EXCHANGE)
    assert not re.search(commands.pattern, topology.NODES.queue("site-1.gateway-0"))
    policy = LIMITS.commands_policy
    assert (policy["dead-letter-exchange"], policy["delivery-limit"]) == ("iot.dead-letters", 7)


def test_a_gateway_reads_its_nodes_queue_and_commands_its_nodes_alone():
    found = permissions({"publish"}, ["s.g-1", "s.g"], {"s.g"})
    names = ["iot.nodes", "iot.nodes.s.g", "iot.nodes.s.g-1", "iot.node-commands", "iot.node-commands.gateway.a"]
    assert allowed(found.read, names) == ["iot.nodes.s.g"]
    assert allowed(found.write, names) == ["iot.node-commands"]
    limited = topology.topic_permissions({"publish"}, {"s.g"})
    assert limited.keys() == {"iot.node-commands"}
    keys = ["s.g.a", "s.g-1.a", "sXg.a", "s.g"]
    assert allowed(limited["iot.node-commands"].write, keys) == ["s.g.a"]
    assert topology.topic_permissions({"publish"}, set()) == topology.topic_permissions({"full"}, {"s.g"}) == {}


def test_a_node_publishes_to_its_own_keys_and_reads_its_own_queue_alone():
    user = topology.node_user("gateway", "node-1")
    found = topology.node_permissions(user)
    queues = ["iot.node-commands.gateway.node-1", "iot.node-commands.gateway.node-10", "iot.node-commands", ""]
    assert allowed(found.configure, queues) == [""]
    assert allowed(found.read, queues) == ["iot.node-commands.gateway.node-1"]
    assert allowed(found.write, [*NAMES, "iot.nodes", "iot.nodes.s.g"]) == ["iot.nodes"]
    keys = ["s.g.node-1", "s.h.node-1", "s.g.node-1.temperature", "s.g.node-1.a.b"]
    others = ["s.g.node-10", "s.g.node-2", "s.i.node-1", "s.g", "x.s.g.node-1", "s.g.x.node-1", "s.g.node-1\n", ""]
    limited = topology.node_topic_permissions("node-1", {"s.h", "s.g"})
    assert allowed(limited.write, [*keys, *others]) == keys
    assert allowed(limited.read, keys) == []
    assert limited == topology.node_topic_permissions("node-1", {"s.g", "s.h"})


def test_a_full_queue_of_nodes_refuses():
    assert LIMITS.nodes_policy == {**LIMITS.commands_policy, "max-length-bytes": 2_000_000}
    assert LIMITS.nodes_policy["overflow"] == "reject-publish"


def test_every_policy_is_of_a_queue_and_dead_letters_go_where_they_are_kept():
    policies = LIMITS.policies()
    assert policies.keys() <= topology.QUEUES.keys()
    assert (policies["iot.telemetry"]["dead-letter-exchange"], topology.DEAD_LETTER_QUEUE, "#") in topology.BINDINGS
    for exchange, queue, _ in topology.BINDINGS:
        assert exchange in topology.EXCHANGES
        assert queue in topology.QUEUES


def test_a_small_stream_has_segments_small_enough_to_drop():
    stream = dataclasses.replace(LIMITS, stream_max_bytes=10_000_000).policies()["iot.telemetry.stream"]
    assert stream["stream-max-segment-size-bytes"] == 2_500_000


def test_the_configuration_binds_the_clients_address_and_loopback():
    text = Settings("10.1.2.3", "rabbitmq", 2**31, 10**9).render()
    assert "listeners.tcp.loopback = 127.0.0.1:5672\nlisteners.tcp.network = 10.1.2.3:5672\n" in text
    assert "management.tcp.ip = 10.1.2.3\n" in text
    assert "vm_memory_high_watermark.absolute = 2147483648\n" in text
    assert "disk_free_limit.absolute = 1000000000\n" in text
    assert "max_message_size = 16777216\n" in text


def test_addresses_of_version_6_and_loopback():
    six = Settings("fd00::1", "rabbitmq", 2**31, 10**9)
    assert "listeners.tcp.network = [fd00::1]:5672\n" in six.render()
    assert six.management_url == "http://[fd00::1]:15672"
    assert "network" not in Settings("127.0.0.1", "rabbitmq", 2**31, 10**9).render()
