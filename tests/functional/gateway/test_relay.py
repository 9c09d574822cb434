"""The relay's way of good payloads and bad ones."""

import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import orjson
import pytest
from daemons import answers, free_port, wait_until
from relay_rig import BATCH, NODE, Node, Rig

from iot_telemetry.accounting import NodeReport


def test_every_reading_arrives_once_in_batches_of_the_size_configured(rig: Rig, node: Node):
    for _ in range(100):
        node.publish(node.payload(records=10))
    node.send(1000)
    node.close()
    rig.wait_for(lambda status: status["confirmed"] == 2000, "2000 readings confirmed")
    messages = rig.messages("telemetry")
    lines = [orjson.loads(line) for _, body in messages for line in gzip.decompress(body).splitlines()]
    assert [line["seq"] for line in lines] == list(range(2000))
    assert set(lines[0]) == {"time", "site", "gateway", "node", "sensor", "unit", "value", "seq", "received"}
    assert (lines[0]["site"], lines[0]["gateway"], lines[0]["node"]) == ("site-1", "gateway-0", NODE)
    assert 0 <= lines[0]["received"] - lines[0]["time"] < 10
    properties = messages[0][0]
    assert properties.content_type == "application/x-ndjson"
    assert properties.content_encoding == "gzip"
    assert properties.delivery_mode == 2
    counts = [properties.headers["readings"] for properties, _ in messages]
    assert sum(counts) == 2000
    assert max(counts) == BATCH
    assert len({properties.message_id for properties, _ in messages}) == len(messages)


def test_a_single_reading_waits_no_longer_than_the_batch_age(rig: Rig, node: Node):
    begin = time.monotonic()
    node.send(1)
    rig.wait_for(lambda status: status["confirmed"] == 1, "the reading confirmed", timeout=5)
    assert time.monotonic() - begin < 2
    node.close()


@pytest.mark.parametrize(
    ("payload", "topic", "reason"),
    [
        (b"21.5 \xff degrees", f"telemetry/{NODE}", "not JSON"),
        (b'[{"bn":"node-2/","n":"temperature","v":1}]', f"telemetry/{NODE}", "may not speak for node-2"),
        (b'[{"bn":"node-10/","n":"temperature","v":1}]', f"telemetry/{NODE}", "may not speak for node-10"),
        (b'[{"n":"node-1","v":1}]', f"telemetry/{NODE}/deep", "has no sensor"),
    ],
)
def test_a_bad_payload_becomes_a_dead_letter_and_the_good_goes_on(
    rig: Rig, node: Node, payload: bytes, topic: str, reason: str
):
    node.send(5)
    node.publish(payload, topic)
    node.send(5)
    node.close()
    status = rig.wait_for(
        lambda status: status["confirmed"] == 10 and status["dead_letters_total"] == 1, "all of it confirmed"
    )
    assert status["malformed"] == 1
    assert rig.account() == {NODE: NodeReport(10, 0, 0)}
    rig.wait_until_empty()
    ((properties, body),) = rig.messages("dead-letters")
    assert body == payload
    assert reason in properties.headers["reason"]
    assert properties.headers["topic"] == topic


def test_a_node_may_speak_for_its_own_subnodes(rig: Rig, node: Node):
    node.publish(b'[{"bn":"node-1:run-7/","n":"temperature","v":1,"seq":0}]')
    node.close()
    rig.wait_for(lambda status: status["confirmed"] == 1, "the reading confirmed")
    assert rig.account() == {"node-1:run-7": NodeReport(1, 0, 0)}


def test_a_node_cannot_write_on_the_topic_of_another(rig: Rig, node: Node):
    node.publish(b'[{"n":"node-2/temperature","v":1}]', "telemetry/node-2")
    node.send(1)
    node.close()
    rig.wait_for(lambda status: status["confirmed"] == 1, "the good reading confirmed")
    seen = rig.wait_until_empty()
    assert seen["received"] == 1
    assert seen["listeners"]["mqtt"]["forbidden"] == 1


def test_a_message_that_no_queue_takes_is_kept_and_shown_until_one_does(rig: Rig, node: Node):
    name = rig.names["telemetry"]
    with rig.channel() as channel:
        channel.queue_unbind(name, name, "#")
    node.send(50)
    node.close()
    status = rig.wait_for(lambda status: status["forwarders"]["telemetry"]["error"], "the fault shown")
    assert "unroutable" in status["forwarders"]["telemetry"]["error"]
    assert "NO_ROUTE" in status["uplink"]["error"]
    assert status["confirmed"] == 0
    with rig.channel() as channel:
        channel.queue_bind(name, name, "#")
    status = rig.wait_until_empty()
    assert status["forwarders"]["telemetry"]["error"] is None
    assert rig.account() == {NODE: NodeReport(50, 0, 0)}


def test_dead_letters_without_an_exchange_wait_and_do_not_block_readings(rig: Rig, node: Node):
    with rig.channel() as channel:
        channel.exchange_delete(rig.names["dead-letters"])
    node.publish(b"bad")
    node.send(300)
    node.close()
    status = rig.wait_for(lambda status: status["confirmed"] == 300, "the good readings confirmed")
    assert status["outbox"]["dead-letters"]["entries"] == 1
    rig.declare()
    rig.wait_until_empty()
    assert [body for _, body in rig.messages("dead-letters")] == [b"bad"]


def test_reload_keeps_the_last_good_configuration_and_follows_the_next_good_one(rig: Rig, node: Node):
    rig.reload(rig.text(batch="{readings = 0}"))
    rig.wait_for(lambda _: "the former one stays" in rig.relay.log.read_text(), "the fault in the log")
    assert "batch.readings" in rig.relay.log.read_text()
    node.send(10)
    rig.wait_for(lambda status: status["confirmed"] == 10, "readings as before")
    connections = rig.relay.status()["listeners"]["mqtt"]["connections"]
    rig.reload(rig.text(site="site-2", batch='{readings = 5, encoding = "identity"}'))
    rig.wait_for(lambda status: status["site"] == "site-2", "the new site")
    node.send(10)
    node.close()
    rig.wait_for(lambda status: status["confirmed"] == 20, "readings in the new form")
    assert rig.relay.status()["listeners"]["mqtt"]["connections"] == connections
    new = [(properties, body) for properties, body in rig.messages("telemetry") if not properties.content_encoding]
    assert [body.count(b"\n") for _, body in new] == [5, 5]
    assert all(properties.headers["site"] == "site-2" for properties, _ in new)


def test_reload_that_changes_where_nodes_come_connects_them_anew(rig: Rig, node: Node):
    node.send(1)
    other = free_port()
    rig.reload(rig.text().replace(f"port = {rig.port}\n", f"port = {other}\n"))
    wait_until(lambda: answers(other), 5, "the listener at its new port")
    assert not answers(rig.port)
    again = Node(other)
    again.sent = 1
    again.send(1)
    again.close()
    rig.wait_for(lambda status: status["confirmed"] == 2, "the readings confirmed")


def command(rig: Rig, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iot_gateway", name, "--config", rig.relay.config],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_command_line(make_rig: Callable[..., Rig]):
    rig = make_rig()
    assert "no relay answers" in command(rig, "status").stderr
    assert "can be used" in command(rig, "check-config").stdout
    rig.relay.start()
    assert orjson.loads(command(rig, "status").stdout)["gateway"] == "gateway-0"
    second = command(rig, "run")
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "in use by another relay" in second.stderr
    rig.relay.configure("site = 1")
    bad = command(rig, "check-config")
    assert (bad.returncode, bad.stderr.count("\n")) == (1, 1)
    assert "site" in bad.stderr
    assert rig.relay.process is not None
    rig.relay.signal(signal.SIGTERM)
    assert rig.relay.process.wait(10) == 0
