"""What breaks: the relay, the brokers, the disk. Nothing is lost, and the bound of what comes twice is kept."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from daemons import RabbitMq, SiteBroker
from relay_rig import BOUND, ON_ITS_WAY, Node, Rig


def sending(node: Node, messages: int, rate: float | None = None, padding: int = 0) -> threading.Thread:
    kwargs = {"rate": rate, "padding": padding}
    thread = threading.Thread(target=node.send, args=(messages,), kwargs=kwargs, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("protocol", "qos"), [(mqtt.MQTTv311, 1), (mqtt.MQTTv5, 1), (mqtt.MQTTv311, 2), (mqtt.MQTTv5, 2)]
)
def test_killed_again_and_again_the_relay_loses_nothing(rig: Rig, protocol: int, qos: int):
    kills = 5
    node = Node(rig.port, protocol=protocol, qos=qos)
    thread = sending(node, 7500, rate=1500)
    for _ in range(kills):
        time.sleep(0.7)
        rig.relay.kill()
        rig.relay.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    # Twice may come what the uplink had sent and not had confirmed, and what was stored and not acknowledged: at most
    # what the node has on its way.
    version = "5" if protocol == mqtt.MQTTv5 else "3.1.1"
    rig.settle(f"relay killed, MQTT {version}, QoS {qos}", kills, 7500, kills * (BOUND + ON_ITS_WAY))


def test_the_site_s_broker_killed_again_and_again(rig: Rig, mosquitto: SiteBroker):
    kills = 5
    node = Node(rig.port)
    thread = sending(node, 7500, rate=1500)
    for _ in range(kills):
        time.sleep(0.7)
        mosquitto.kill()
        rig.wait_for(lambda status: not status["listeners"]["mqtt"]["connected"], "the fault shown")
        mosquitto.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    # The relay answers for what it has before it lets the connection go.
    rig.settle("the site's mosquitto killed", kills, 7500, kills * ON_ITS_WAY)


def test_stopped_in_order_the_relay_repeats_nothing(rig: Rig, node: Node):
    thread = sending(node, 3000, rate=1500)
    time.sleep(0.6)
    rig.relay.stop()
    rig.relay.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    rig.settle("relay stopped in order", 1, 3000, 0)


def test_the_queues_broker_killed(rig: Rig, node: Node, rabbitmq: RabbitMq):
    thread = sending(node, 6000, rate=1000)
    time.sleep(0.5)
    rabbitmq.kill()
    rig.wait_for(lambda status: not status["uplink"]["connected"] and status["behind_seconds"] > 1, "the relay behind")
    rabbitmq.start()
    rig.wait_for(lambda status: status["uplink"]["connected"], "connected again")
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    rig.settle("RabbitMQ killed", 1, 6000, BOUND)


def test_what_a_node_has_while_the_relay_is_away_is_there_when_it_returns(rig: Rig, node: Node):
    rig.relay.kill()
    thread = sending(node, 2000, rate=2000)
    time.sleep(0.5)
    rig.relay.start()
    thread.join(60)
    node.close()
    rig.wait_until_empty()
    rig.settle("relay away while a node sends", 1, 2000, 0)


def test_a_full_outbox_acknowledges_nothing_and_recovers(make_rig: Callable[..., Rig], tmp_path: Path):
    rig = make_rig(outbox=f'{{directory = "{tmp_path}/outbox", max_bytes = 1048576, segment_bytes = 131072}}')
    rig.relay.start()
    name = rig.names["telemetry"]
    with rig.channel() as channel:
        channel.queue_unbind(name, name, "#")
    node = Node(rig.port)
    thread = sending(node, 3000, padding=600)
    status = rig.wait_for(lambda status: status["refusal"], "the refusal shown")
    assert status["outbox"]["telemetry"]["bytes"] <= 1048576
    stored = status["outbox"]["telemetry"]["entries"]
    assert 0 < stored < 3000
    assert rig.relay.log.read_text().count("nothing more is acknowledged") == 1
    time.sleep(0.5)
    assert rig.relay.status()["outbox"]["telemetry"]["entries"] == stored
    with rig.channel() as channel:
        channel.queue_bind(name, name, "#")
    thread.join(60)
    node.close()
    assert rig.wait_until_empty()["refusal"] is None
    rig.settle("outbox full, and room again", 1, 3000, 0)


def test_a_full_disk_acknowledges_nothing_and_recovers_when_there_is_space(
    make_rig: Callable[..., Rig], small_disk: Path
):
    rig = make_rig(outbox=f'{{directory = "{small_disk}/outbox"}}')
    rig.relay.start()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        written = 0
        try:
            while True:
                written += file.write(bytes(4096))
        except OSError:
            pass
    assert written
    node = Node(rig.port)
    node.send(200)
    status = rig.wait_for(lambda status: status["refusal"], "the refusal shown")
    assert "No space left" in status["refusal"]
    assert "No space left" in rig.relay.log.read_text()
    ballast.unlink()
    node.send(200)
    node.close()
    assert rig.wait_until_empty()["refusal"] is None
    rig.settle("disk full, and space again", 1, 400, 0)
    rig.close()
    rig.declare()  # the fixture closes once more
