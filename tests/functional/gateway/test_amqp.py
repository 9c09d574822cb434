"""Nodes that speak AMQP: by pika, and by Qpid Proton where it is AMQP 1.0; neither is ours."""

import itertools
import json
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import amqp10
import cbor2
import pika.exceptions
import pytest
from amqp_rig import BOUND, KEY, PREFETCH, QUEUE, USERNAME, AmqpRig, PikaNode, Sending, commands_queue
from daemons import wait_until
from managed_rabbitmq import ManagedRabbitMq

_numbers = itertools.count()
NODE = "node-1"
MakeRig = Callable[..., AmqpRig]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedRabbitMq]:
    made = ManagedRabbitMq(tmp_path_factory.mktemp("nodes-broker"))
    made.start()
    yield made
    made.close()


@pytest.fixture
def make_rig(tmp_path: Path, broker: ManagedRabbitMq) -> Iterator[MakeRig]:
    made: list[AmqpRig] = []

    def make(**settings: int) -> AmqpRig:
        made.append(AmqpRig(tmp_path / f"amqp-{next(_numbers)}", broker, **settings))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: MakeRig) -> AmqpRig:
    made = make_rig()
    made.start()
    return made


def dead_letters(rig: AmqpRig, count: int) -> dict[str, tuple[str, bytes]]:
    """Wait for so many dead letters; return reason and payload by topic."""
    wait_until(lambda: rig.waiting("iot.dead-letters") >= count, 20, f"{count} dead letters")
    return {p.headers["topic"]: (p.headers["reason"], body) for p, body in rig.messages("iot.dead-letters")}


def test_what_a_node_publishes_is_in_the_telemetry_queue(rig: AmqpRig):
    node = PikaNode(rig, NODE)
    node.publish(b'[{"n":"node-1/temperature","u":"Cel","v":21.5,"seq":1}]')
    pack = cbor2.dumps([{0: "node-1/temperature", 2: 22.5, "seq": 2}])
    node.publish(pack, content_type="application/senml+cbor")
    node.publish(cbor2.dumps([{0: "node-1/temperature", 2: 23.5, "seq": 3}]))
    node.publish(b'[{"n":"node-1/temperature","v":24.5,"seq":4}]', "raw", content_type="application/senml+json")
    node.publish(b"25.5", "raw", "humidity", content_encoding="utf-8")
    rig.wait_for_readings(5)
    values = {reading.value: reading for reading in rig.received}
    assert set(values) == {21.5, 22.5, 23.5, 24.5, 25.5}
    assert {(reading.site, reading.gateway, reading.node) for reading in rig.received} == {
        ("site-1", "gateway-0", NODE)
    }
    assert values[25.5].sensor == "raw/humidity"
    assert rig.waiting(QUEUE) == 0
    status = rig.wait_for(lambda s: s["listeners"]["amqp"]["queued"] == 0, "an empty queue")["listeners"]["amqp"]
    assert (status["received"], status["payloads"], status["malformed_payloads"]) == (5, 5, 0)
    assert status["error"] is None


def test_what_makes_no_sense_is_a_dead_letter_and_holds_nothing_up(rig: AmqpRig):
    node = PikaNode(rig, NODE)
    node.publish(b"no senml", "a")
    node.publish(b'[{"n":"node-2/temperature","v":1}]', "b")
    node.publish(b"zipped", "c", content_encoding="gzip")
    node.publish(b'{"id":"x","state":"eaten"}', "command-state")
    with rig.channel() as channel:
        # As a node of another gateway may publish, under its own routing key, with a copy for this one.
        copied = pika.BasicProperties(headers={"CC": [f"{KEY}.{NODE}"]})
        channel.basic_publish("iot.nodes", f"{NODE}.gateway-1.x", b"[]", copied)
    node.send(1)
    rig.wait_for_readings(1)
    found = dead_letters(rig, 5)
    assert found["node-1/a"][1] == b"no senml"
    assert "may not speak for node-2" in found["node-1/b"][0]
    assert found["node-1/c"] == ("content_encoding='gzip': payloads must not be encoded", b"zipped")
    assert found["node-1.gateway-1.x"][0] == "the routing key node-1.gateway-1.x is of no node of this gateway"
    assert "state='eaten'" in found["node-1/command-state"][0]


class Written(pika.BasicProperties):
    """Properties whose content header a node has written itself."""

    def __init__(self, header: bytes):
        super().__init__()
        self._header = header

    def encode(self) -> list[bytes]:
        return [self._header]


def test_no_header_of_a_node_keeps_the_relay_from_the_messages_of_others(rig: AmqpRig):
    def table(entries: bytes) -> bytes:
        return struct.pack(">I", len(entries)) + entries

    deep = table(b"")
    for _ in range(3000):
        deep = table(b"\x01aF" + deep)
    late, headers = table(b"\x01xT" + struct.pack(">Q", 2**63)), struct.pack(">H", 1 << 13)
    hostile = PikaNode(rig, "node-2")
    for header in (headers + deep, headers + late, struct.pack(">HB", 1 << 14, 1) + b"\xfc"):
        hostile.channel.basic_publish("iot.nodes", hostile.key, b"harm", Written(header))
    hostile.channel.basic_publish("iot.nodes", b"%s.\xfc" % hostile.key.encode(), b"harm")
    PikaNode(rig, NODE).send(1)
    rig.wait_for_readings(1)
    wait_until(lambda: rig.waiting("iot.dead-letters") == 4, 20, "all of it dead letters")
    assert rig.relay.status()["listeners"]["amqp"]["connections"] == 1
    assert rig.waiting(QUEUE) == 0


def test_a_node_can_do_nothing_but_speak_for_itself_and_hear_its_commands(rig: AmqpRig):
    def denied(act: Callable[[PikaNode], object]) -> None:
        node = PikaNode(rig, NODE)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
            act(node)
        node.close()

    denied(lambda node: node.channel.basic_publish("iot.nodes", f"{KEY}.node-2", b"x"))
    denied(lambda node: node.channel.basic_publish("iot.nodes", f"{KEY}.node-11", b"x"))
    denied(lambda node: node.channel.basic_publish("iot.nodes", f"{KEY}.{NODE}\n", b"x"))
    denied(lambda node: node.channel.basic_publish("iot.telemetry", KEY, b"x"))
    denied(lambda node: node.channel.basic_publish("iot.node-commands", f"{KEY}.{NODE}", b"x"))
    denied(lambda node: node.channel.basic_get(QUEUE))
    denied(lambda node: node.channel.basic_get(commands_queue("node-2")))
    denied(lambda node: node.channel.queue_declare("mine"))
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        rig.connect(f"{USERNAME}.{NODE}", rig.passwords["node-2"])


@pytest.mark.timeout(240)
def test_nothing_that_was_confirmed_is_lost_when_the_relay_is_killed(rig: AmqpRig, thorough: bool):
    kills = 10 if thorough else 4
    nodes = [PikaNode(rig, name) for name in ("node-1", "node-2", "node-3")]
    sending = [Sending(node) for node in nodes]
    for _ in range(kills):
        time.sleep(1.5)
        rig.relay.kill()
        time.sleep(0.5)  # a backlog, so that the next kill finds a full prefetch
        rig.start()
    for each in sending:
        each.stop()
    sent = sum(node.sent for node in nodes)
    rig.wait_for_readings(sent)
    lost = {(node.name, seq) for node in nodes for seq in range(node.sent)} - set(rig.seen)
    duplicates = sum(rig.seen.values()) - len(rig.seen)
    print(f"{kills} kills: sent {sent}, lost {len(lost)}, duplicates {duplicates}, bound {kills * BOUND}")
    assert not lost
    assert duplicates <= kills * BOUND
    assert rig.waiting("iot.dead-letters") == 0


def test_a_stop_of_the_relay_brings_nothing_twice(rig: AmqpRig):
    node = PikaNode(rig, NODE)
    sending = Sending(node)
    for _ in range(2):
        time.sleep(1)
        rig.relay.stop()
        rig.start()
    sending.stop()
    rig.wait_for_readings(node.sent)
    assert sum(rig.seen.values()) == len(rig.seen) == node.sent


def test_a_node_is_told_when_the_queue_is_full_and_what_was_confirmed_arrives(make_rig: MakeRig):
    rig = make_rig(nodes_max_bytes=200_000)
    node = PikaNode(rig, NODE)
    with pytest.raises(pika.exceptions.NackError):
        node.send(1000, padding=2000)
    confirmed = node.sent
    assert confirmed >= 50
    rig.start()
    rig.wait_for_readings(confirmed)
    node.send(10)
    rig.wait_for_readings(confirmed + 10)
    # A quorum queue says no a little after it is full, so a payload that was refused is nowhere, and only that.
    assert set(rig.seen) == {(NODE, seq) for seq in range(node.sent)}


def test_a_command_reaches_a_node_that_was_away(rig: AmqpRig):
    rig.ask("send-command", id="c-1", node=NODE, target="light", value=60)
    time.sleep(3)
    assert rig.command("c-1")["state"] == "queued"
    assert rig.waiting(commands_queue(NODE)) == 0, "it waits at the gateway, where it can be cancelled"
    node = PikaNode(rig, NODE)
    begin = time.monotonic()
    command = node.take_command()
    assert {key: command[key] for key in ("id", "target", "value")} == {"id": "c-1", "target": "light", "value": 60}
    print(f"taken {time.monotonic() - begin:.2f} s after the node came")
    node.report("c-1", "acknowledged")
    node.report("c-1", "applied")
    found = rig.wait_for_state("c-1", "applied")
    assert [step["state"] for step in found["steps"]] == ["queued", "sent", "acknowledged", "applied"]
    assert found["steps"][1]["reason"] == "amqp"
    # The node is known to be there now: the next one goes at once.
    begin = time.monotonic()
    rig.ask("send-command", id="c-2", node=NODE, target="light", value=0)
    assert node.take_command()["id"] == "c-2"
    print(f"the second taken after {time.monotonic() - begin:.2f} s")
    PikaNode(rig, "node-2").report("c-2", "failed")
    node.report("c-2", "applied")
    found = rig.wait_for_state("c-2", "applied")
    assert [step["state"] for step in found["steps"]] == ["queued", "sent", "applied"], "another's word does not count"


def test_commands_survive_a_kill_of_the_relay_and_are_in_the_lake(rig: AmqpRig):
    rig.ask("send-command", id="c-1", node=NODE, target="light", value=60)
    rig.relay.kill()
    rig.start()
    node = PikaNode(rig, NODE)
    assert node.take_command()["id"] == "c-1"
    rig.relay.kill()
    node.report("c-1", "applied")
    rig.start()
    rig.wait_for_state("c-1", "applied")
    lines: list[str] = []

    def told() -> bool:
        rig.collect()
        lines[:] = [reading.text for reading in rig.received if reading.sensor == "command/light" and reading.text]
        return "applied" in lines

    wait_until(told, 20, "the command's end in the telemetry queue")


def test_a_command_that_the_node_does_not_take_in_time_expires_in_its_queue(rig: AmqpRig):
    node = PikaNode(rig, NODE)
    node.channel.basic_qos(prefetch_count=1)
    held: list[bytes] = []
    node.channel.basic_consume(commands_queue(NODE), lambda _channel, _method, _properties, body: held.append(body))
    rig.ask("send-command", id="c-1", node=NODE, target="light", value=1)

    def taken() -> bool:
        node.connection.process_data_events(0.1)
        return bool(held)

    wait_until(taken, 15, "the first command taken, and not acknowledged")
    rig.ask("send-command", id="c-2", node=NODE, target="shutter", value=1, ttl=3)
    rig.wait_for_state("c-2", "sent")
    assert rig.waiting(commands_queue(NODE)) == 1
    found = rig.wait_for_state("c-2", "expired", 10)
    assert found["reason"] == "the node did not acknowledge it in time"
    wait_until(lambda: rig.waiting(commands_queue(NODE)) == 0, 5, "the command gone from the queue")
    node.close()
    again = PikaNode(rig, NODE)
    assert again.take_command()["id"] == "c-1"


def test_a_node_that_is_disabled_meanwhile_is_not_taken_from(rig: AmqpRig):
    known = json.loads((rig.directory / "nodes.json").read_text())
    known["nodes"][NODE]["enabled"] = False
    del known["nodes"]["node-2"]
    (rig.directory / "nodes.json").write_text(json.dumps(known))
    rig.relay.stop()
    PikaNode(rig, NODE).send(1)
    PikaNode(rig, "node-2").send(1)
    rig.start()
    found = dead_letters(rig, 2)
    assert found["node-1"][0] == "node node-1 is disabled"
    assert found["node-2"][0] == "no node is called 'node-2'"


def test_amqp_1_0(rig: AmqpRig):
    rig.ask("send-command", id="c-1", node=NODE, target="light", value=60)
    who = rig.broker.port, rig.vhost, f"{USERNAME}.{NODE}", rig.passwords[NODE]
    for seq, form in enumerate(("data", "string", "binary")):
        pack = f'[{{"n":"node-1/temperature","v":{seq},"seq":{seq}}}]'
        assert amqp10.send(*who, f"/exchange/iot.nodes/{KEY}.{NODE}", pack, form) == {"state": "accepted"}
    assert amqp10.send(*who, f"/exchange/iot.nodes/{KEY}.{NODE}", "a", "map") == {"state": "accepted"}
    answer = amqp10.receive(*who, f"/amq/queue/{commands_queue(NODE)}")
    command = json.loads(answer["body"])
    assert (command["id"], command["value"]) == ("c-1", 60)
    states = f"/exchange/iot.nodes/{answer['subject']}.command-state"
    assert amqp10.send(*who, states, '{"id":"c-1","state":"applied"}') == {"state": "accepted"}
    rig.wait_for_state("c-1", "applied")
    rig.wait_for_readings(3)
    assert sorted(reading.value for reading in rig.received if reading.sensor == "temperature") == [0, 1, 2]
    assert "AMQP 1.0" in dead_letters(rig, 1)[NODE][0]


def test_the_prefetch_holds_while_nothing_can_be_stored(rig: AmqpRig):
    """What the relay can't store stays the broker's, but for a prefetch."""
    assert rig.relay.status()["refusal"] is None
    rig.relay.signal(signal.SIGSTOP)
    node = PikaNode(rig, NODE)
    node.send(3 * PREFETCH)
    wait_until(lambda: rig.waiting(QUEUE) == 2 * PREFETCH, 10, "all but the prefetch at the broker")
    rig.relay.signal(signal.SIGCONT)
    rig.wait_for_readings(3 * PREFETCH)
    assert sum(rig.seen.values()) == 3 * PREFETCH


def test_a_command_while_rabbitmq_is_short_of_memory_does_not_stop_the_draining(rig: AmqpRig):
    """It reads nothing more from a connection that has published: acknowledgements must go over another."""
    rig.relay.signal(signal.SIGSTOP)
    PikaNode(rig, NODE).send(2 * PREFETCH)
    rig.relay.kill()  # what it had taken is the queue's again
    keeper = rig.channel()
    wait_until(lambda: rig.waiting(QUEUE) == 2 * PREFETCH, 10, "all of it in the queue")
    for _ in range(2 * PREFETCH):
        keeper.basic_get(QUEUE)
    rig.start()
    alarm = "{resource_limit, memory, node()}"
    rig.broker.control("eval", f"rabbit_alarm:set_alarm({{{alarm}, []}}).")
    try:
        taker = PikaNode(rig, NODE)
        taker.channel.basic_consume(commands_queue(NODE), lambda *_: None)
        rig.ask("send-command", id="c-1", node=NODE, target="light", value=1)
        rig.wait_for(lambda s: s["listeners"]["amqp"]["blocked"], "commands held up")
        keeper.close()
        rig.wait_for(lambda s: s["listeners"]["amqp"]["received"] == 2 * PREFETCH, "all of it taken", 20)
    finally:
        rig.broker.control("eval", f"rabbit_alarm:clear_alarm({alarm}).")
    rig.wait_for_readings(2 * PREFETCH)
