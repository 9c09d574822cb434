"""Measures the relay between a real mosquitto and a real RabbitMQ on this machine's loopback.

    python benchmarks/relay.py [--readings 200000] [--publishers 4] [--batch 1000] [--age 100]

Needs mosquitto and rabbitmq-server (packages); uses neither's service, only ports and directories of its own.
Publishers flood at MQTT QoS 1, each message a SenML pack with one reading (150 bytes); they, both brokers and the
relay share the machine, so the rate is that of the whole, and the CPU a reading is what tells of the relay. Every
message is acknowledged after an fdatasync. At the end every reading is taken off the queue and counted. The last
line is one JSON object of figures.
"""

import argparse
import json
import logging
import multiprocessing
import os
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/functional"))

from daemons import Daemon, Mosquitto, RabbitMq
from relay_rig import RELAY_PASSWORD, RELAY_USER, Rig

from iot_telemetry import Reading, batch
from iot_telemetry.accounting import Account

WINDOW = 200
"""Messages that a publisher has unacknowledged at most."""
PAYLOAD_SIZE = 150


def payload(node: str, seq: int) -> bytes:
    head = f'[{{"bn":"{node}/","bt":{time.time():.3f},"n":"temperature","u":"Cel","v":{20 + seq % 100 / 10},"seq":{seq}'
    return (head + ',"note":"' + "." * (PAYLOAD_SIZE - len(head) - 12) + '"}]').encode()


def publish(port: int, node: str, count: int) -> None:
    """Flood as one node; a client of a few lines, so that the load costs little of the machine that is measured."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        fields = [node.encode(), node.encode(), b"password"]
        body = b"\x00\x04MQTT\x04\xc2\x00\x00" + b"".join(struct.pack(">H", len(field)) + field for field in fields)
        link.sendall(bytes((0x10, len(body))) + body)
        assert link.recv(4) == b"\x20\x02\x00\x00"
        topic = f"telemetry/{node}".encode()
        sent = acknowledged = rest = 0
        while acknowledged < count:
            packets: list[bytes] = []
            while sent < count and sent - acknowledged < WINDOW:
                body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", sent % 65535 + 1) + payload(node, sent)
                packets.append(bytes((0x32, len(body) & 0x7F | 0x80, len(body) >> 7)) + body)
                sent += 1
            if packets:
                link.sendall(b"".join(packets))
            received = len(link.recv(65536)) + rest
            acknowledged, rest = acknowledged + received // 4, received % 4  # every PUBACK has four bytes


def cpu(daemon: Daemon) -> float:
    """Return the CPU seconds of a daemon with all its processes: each has a session of its own."""
    assert daemon.process is not None
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == daemon.process.pid:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def count(rig: Rig) -> dict[str, int]:
    """Take every reading off the queue."""
    account = Account()
    with rig.channel() as channel:
        channel.basic_qos(prefetch_count=50)
        for method, properties, body in channel.consume(rig.names["telemetry"], inactivity_timeout=3):
            if method is None:
                break
            for line in batch.decode(body, properties.content_encoding or "identity"):
                account.add(Reading.from_line(line))
            channel.basic_ack(method.delivery_tag)
        channel.cancel()
    report = account.report().values()
    return {
        "in_broker": sum(node.distinct for node in report),
        "duplicates": sum(node.duplicates for node in report),
    }


def measure(options: argparse.Namespace, directory: Path) -> dict[str, float]:
    nodes = [f"node-{number}" for number in range(options.publishers)]
    each = options.readings // len(nodes)
    acl = f"user {RELAY_USER}\ntopic read telemetry/#\n" + "".join(
        f"user {n}\ntopic write telemetry/{n}\n" for n in nodes
    )
    rabbitmq = RabbitMq(directory / "rabbitmq")
    mosquitto = Mosquitto(
        directory / "mosquitto", {RELAY_USER: RELAY_PASSWORD, **dict.fromkeys(nodes, "password")}, acl
    )
    try:
        print("starting RabbitMQ and mosquitto", flush=True)
        rabbitmq.start()
        mosquitto.start()
        settings = f"{{readings = {options.batch}, age_ms = {options.age}, window = 32}}"
        rig = Rig(directory / "relay", rabbitmq, mosquitto, batch=settings)
        rig.relay.start()
        rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")
        print(f"{len(nodes)} publishers flood {each * len(nodes)} readings of {PAYLOAD_SIZE} bytes", flush=True)
        used = {name: cpu(daemon) for name, daemon in (("m", mosquitto), ("r", rabbitmq), ("relay", rig.relay))}
        begin = time.monotonic()
        spawn = multiprocessing.get_context("spawn")
        publishers = [spawn.Process(target=publish, args=(mosquitto.port, node, each)) for node in nodes]
        for publisher in publishers:
            publisher.start()
        sent = each * len(nodes)
        status = rig.wait_for(lambda s: s["confirmed"] >= sent, "all readings confirmed", timeout=options.timeout)
        seconds = time.monotonic() - begin
        for publisher in publishers:
            publisher.join(10)
            assert publisher.exitcode == 0
        relay_cpu, rss = rig.relay.resources()
        relay_cpu -= used["relay"]
        mosquitto_cpu, rabbitmq_cpu = cpu(mosquitto) - used["m"], cpu(rabbitmq) - used["r"]
        print(f"confirmed after {seconds:.2f} s; {json.dumps(status['forwarders']['telemetry'])}", flush=True)
        print("counting what is in the broker", flush=True)
        counted = count(rig)
        rig.close()
    finally:
        mosquitto.stop()
        rabbitmq.close()
    return {
        "readings_per_s": round(sent / seconds),
        "relay_cpu_us_per_reading": round(relay_cpu / sent * 1e6, 2),
        "mosquitto_cpu_us_per_reading": round(mosquitto_cpu / sent * 1e6, 2),
        "rabbitmq_cpu_us_per_reading": round(rabbitmq_cpu / sent * 1e6, 2),
        "relay_rss_mb": round(rss, 1),
        "sent": sent,
        "in_broker": counted["in_broker"],
        "lost": sent - counted["in_broker"],
        "duplicates": counted["duplicates"],
    }


def main() -> None:
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description="Measure the relay between real brokers.")
    parser.add_argument("--readings", type=int, default=200_000)
    parser.add_argument("--publishers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1000, help="readings a batch")
    parser.add_argument("--age", type=int, default=100, help="milliseconds that a batch may wait")
    parser.add_argument("--timeout", type=int, default=300, help="seconds to give up after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-relay-", dir="/var/tmp") as directory:
        figures = measure(options, Path(directory))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
