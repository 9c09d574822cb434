"""Measures the gateway under load, and what a user could run in its place, in one run on this machine's loopback.

    python benchmarks/gateway [--seconds 20] [--publishers 10] [--clients 10000] [--without-peers]
                             [--profile FILE]

Needs mosquitto and rabbitmq-server (packages); uses neither's service, only ports and directories of its own.
Publishers flood at MQTT QoS 1, each message a SenML pack with one reading (150 bytes), each topic its node's. Every
payload is validated, and acknowledged after an fdatasync. At the end every reading is taken off the queue and counted.
Load, relay and brokers share the machine, so the rate is that of the whole; CPU microseconds a reading compare better.
The last line is one JSON object of figures.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/functional"))
sys.path.insert(0, str(Path(__file__).parent))

import gateway
import peers
from daemons import RabbitMq


def measure(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    rabbitmq = RabbitMq(directory / "rabbitmq")
    chosen = gateway.Options(options.seconds, options.publishers, options.clients)
    found: dict[str, object] = {}
    try:
        print("starting RabbitMQ", flush=True)
        rabbitmq.start()
        measured = gateway.Gateway(directory, rabbitmq, chosen)
        try:
            measured.start()
            idle = measured.idle()
            print(f"idle: {idle} MB; {options.publishers} publishers flood for {options.seconds} s", flush=True)
            found = {**measured.flood(), "idle_rss_mb": idle}
            print(json.dumps(found), flush=True)
            if options.profile:
                print("the same while py-spy looks", flush=True)
                found["profile"] = measured.profile(options.profile)
                print(json.dumps(found["profile"], indent=2), flush=True)
            print(f"the same with the uplink down for the whole of {options.seconds} s", flush=True)
            found["uplink_down"] = measured.flood_without_uplink()
            print(json.dumps(found["uplink_down"]), flush=True)
            print(f"{options.clients} clients connect", flush=True)
            held = measured.hold()
            print(json.dumps(held), flush=True)
            found["mqtt_clients"] = held["connected"]
            found["clients"] = held
            print(f"{gateway.COAP_REQUESTS} requests by CoAP behind OSCORE, and as many without", flush=True)
            ways = {"oscore": measured.flood_coap(protected=True), "plain": measured.flood_coap(protected=False)}
            print(json.dumps(ways), flush=True)
            found["coap_requests_per_s"] = ways["oscore"]["requests_per_s"]
            found["coap"] = ways
        finally:
            measured.close()
        found["peers"] = None if options.without_peers else measure_peers(options, directory, rabbitmq)
    finally:
        rabbitmq.close()
    return found


def measure_peers(options: argparse.Namespace, directory: Path, rabbitmq: RabbitMq) -> dict[str, object]:
    seconds = min(options.seconds, 10.0)
    print(f"peers, each flooded for {seconds} s: Telegraf", flush=True)
    telegraf = peers.telegraf(directory / "peer-telegraf", rabbitmq, options.publishers, seconds)
    print(
        "there is none here; docs/explanation/gateway-speed.md says how to build it"
        if telegraf is None
        else json.dumps(telegraf),
        flush=True,
    )
    rabbitmq.stop()
    print("RabbitMQ's MQTT plugin", flush=True)
    plugin = peers.rabbitmq_mqtt(directory / "peer-rabbitmq", options.publishers, seconds)
    print(json.dumps(plugin), flush=True)
    return {"rabbitmq_mqtt_plugin": plugin, "telegraf": telegraf}


def main() -> None:
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(description="Measure the gateway under load, and its peers.")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each flood")
    parser.add_argument("--publishers", type=int, default=10)
    parser.add_argument("--clients", type=int, default=gateway.IDLE_CLIENTS, help="that are only connected")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="have py-spy write where the relay's time goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gateway-", dir="/var/tmp") as directory:
        found = measure(options, Path(directory))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
