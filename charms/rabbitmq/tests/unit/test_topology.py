import re

import pytest

import topology
from rabbitmq import Settings
from topology import Limits, permissions


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
    assert re.search(topology.COMMANDS_QUEUES, topology.commands_queue("site-1.gateway-0"))
    assert not re.search(topology.COMMANDS_QUEUES, topology.COMMANDS_EXCHANGE)
    policy = Limits(7, 1_000_000_000, "2D").commands_policy
    assert (policy["dead-letter-exchange"], policy["delivery-limit"]) == ("iot.dead-letters", 7)


def test_every_policy_is_of_a_queue_and_dead_letters_go_where_they_are_kept():
    policies = Limits(7, 1_000_000_000, "2D").policies()
    assert policies.keys() <= topology.QUEUES.keys()
    assert (policies["iot.telemetry"]["dead-letter-exchange"], topology.DEAD_LETTER_QUEUE, "#") in topology.BINDINGS
    for exchange, queue, _ in topology.BINDINGS:
        assert exchange in topology.EXCHANGES
        assert queue in topology.QUEUES


def test_a_small_stream_has_segments_small_enough_to_drop():
    stream = Limits(7, 10_000_000, "2D").policies()["iot.telemetry.stream"]
    assert stream["stream-max-segment-size-bytes"] == 2_500_000


def test_the_configuration_binds_the_clients_address_and_loopback():
    text = Settings("10.1.2.3", "rabbitmq", 2**31, 10**9).render()
    assert "listeners.tcp.loopback = 127.0.0.1:5672\nlisteners.tcp.network = 10.1.2.3:5672\n" in text
    assert "management.tcp.ip = 10.1.2.3\n" in text
    assert "vm_memory_high_watermark.absolute = 2147483648\n" in text
    assert "disk_free_limit.absolute = 1000000000\n" in text


def test_addresses_of_version_6_and_loopback():
    six = Settings("fd00::1", "rabbitmq", 2**31, 10**9)
    assert "listeners.tcp.network = [fd00::1]:5672\n" in six.render()
    assert six.management_url == "http://[fd00::1]:15672"
    assert "network" not in Settings("127.0.0.1", "rabbitmq", 2**31, 10**9).render()
