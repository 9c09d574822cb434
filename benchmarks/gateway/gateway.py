"""The gateway under load: relay, mosquitto and RabbitMQ on this machine's loopback, everything on disk."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coap
import load
import processes
from daemons import RabbitMq, SiteBroker, free_port
from profiling import Profile
from relay_rig import ACL, Rig

from iot_gateway.listeners.coap.security import make_keys
from iot_gateway.nodes import Node, file
from iot_telemetry import Reading, batch
from iot_telemetry.accounting import Account

IDLE_CLIENTS = 10_000
COAP_NODES, COAP_REQUESTS = 100, 30_000


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    seconds: float
    publishers: int
    clients: int


class Gateway:
    """A relay between a mosquitto and a RabbitMQ."""

    def __init__(self, directory: Path, rabbitmq: RabbitMq, options: Options):
        self.rabbitmq = rabbitmq
        self.mosquitto = SiteBroker(directory / "mosquitto", ACL)
        self.mosquitto.start()
        self.coap_port = free_port()
        names = [load.node(number) for number in range(options.publishers)]
        self.rig = Rig(
            directory / "relay",
            rabbitmq,
            self.mosquitto,
            batch="{readings = 1000, age_ms = 500, window = 32}",
            outbox=f'{{directory = "{directory}/relay/outbox", max_bytes = 8589934592}}',
            nodes=dict.fromkeys(names, load.PASSWORD),
            mqtt=f"max_clients = {options.clients + 100}",
        )
        self._options = options

    def start(self) -> None:
        """Start the relay, from byte code as the charm installs it, and wait until it is connected at both ends."""
        # Whatever the environment says: compiling at the start would leave 3 MB behind in the relay's memory.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-m", "iot_gateway", "check-config", "--config", str(self.rig.relay.config)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        self.rig.relay.start()
        self.rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "connected")

    def close(self) -> None:
        """Stop relay and mosquitto, take the queues away."""
        self.rig.close()
        self.mosquitto.stop()

    def idle(self) -> float:
        """Return the relay's memory while it has nothing to do, in MB."""
        time.sleep(3)
        return round(processes.rss_mb(self.rig.relay), 1)

    def flood(self) -> dict[str, Any]:
        """Flood it for the time given; return its figures and what arrived."""
        rig = self.rig
        daemons = {"relay": rig.relay, "mosquitto": self.mosquitto, "rabbitmq": self.rabbitmq}
        before = {name: processes.cpu(daemon) for name, daemon in daemons.items()}
        processes.forget_peak(rig.relay)
        begin = time.monotonic()
        target = load.Target(rig.port, self._options.publishers, self._options.seconds)
        process, results = load.start(load.flood, target)
        sent = results.get(timeout=self._options.seconds + 90)
        rig.wait_for(lambda status: status["confirmed"] >= sent["sent"], "all readings confirmed", timeout=120)
        seconds = time.monotonic() - begin
        process.join(10)
        used = {name: (processes.cpu(daemon) - before[name]) / sent["sent"] * 1e6 for name, daemon in daemons.items()}
        figures = {
            "readings_per_s": round(sent["sent"] / sent["seconds"]),
            "relay_cpu_us_per_reading": round(used["relay"], 2),
            "mosquitto_cpu_us_per_reading": round(used["mosquitto"], 2),
            "rabbitmq_cpu_us_per_reading": round(used["rabbitmq"], 2),
            "total_cpu_us_per_reading": round(sum(used.values()), 2),
            "rss_mb": round(processes.peak_mb(rig.relay), 1),
            "sent": sent["sent"],
            "acknowledged": sent["acknowledged"],
            "seconds_until_confirmed": round(seconds, 1),
        }
        return {**figures, **self.count(sent["sent"])}

    def count(self, sent: int) -> dict[str, int]:
        """Take every reading off the queue and count them."""
        account = Account()
        with self.rig.channel() as channel:
            channel.basic_qos(prefetch_count=50)
            for method, properties, body in channel.consume(self.rig.names["telemetry"], inactivity_timeout=3):
                if method is None:
                    break
                for line in batch.decode(body, properties.content_encoding or "identity"):
                    account.add(Reading.from_line(line))
                channel.basic_ack(method.delivery_tag)
            channel.cancel()
        report = account.report().values()
        arrived = sum(node.distinct for node in report)
        return {
            "in_broker": arrived,
            "lost": sent - arrived,
            "duplicates": sum(node.duplicates for node in report),
        }

    def profile(self, path: Path) -> dict[str, Any]:
        """Flood it while py-spy looks; return its figures, and the shares of its modules."""
        profile = Profile(self.rig.relay, path, self._options.seconds)
        return {**self.flood(), "percent_of_samples": profile.shares()}

    def flood_without_uplink(self) -> dict[str, Any]:
        """Flood it while RabbitMQ is away for the whole run; return how its memory went, in MB."""
        rig, seconds = self.rig, self._options.seconds
        before = rig.relay.status()["confirmed"]
        self.rabbitmq.stop()
        rig.wait_for(lambda status: not status["uplink"]["connected"], "the uplink away")
        processes.forget_peak(rig.relay)
        samples: list[float] = []
        process, results = load.start(load.flood, load.Target(rig.port, self._options.publishers, seconds))
        begin = time.monotonic()
        while process.is_alive() and time.monotonic() < begin + seconds + 60 and results.empty():
            time.sleep(0.5)
            samples.append(processes.rss_mb(rig.relay))
        sent = results.get(timeout=60)
        process.join(10)
        third = len(samples) // 3
        stored = rig.relay.status()["outbox"]["telemetry"]
        figures = {
            "readings_per_s": round(sent["sent"] / sent["seconds"]),
            "stored": stored["entries"],
            "stored_mb": round(stored["bytes"] / 1e6),
            "rss_first_third_mb": round(sum(samples[:third]) / third, 1),
            "rss_last_third_mb": round(sum(samples[-third:]) / third, 1),
            "rss_peak_mb": round(processes.peak_mb(rig.relay), 1),
        }
        self.rabbitmq.start()
        rig.wait_for(lambda status: status["confirmed"] >= before + sent["sent"], "all readings confirmed", timeout=180)
        return {**figures, **self.count(sent["sent"])}

    def flood_coap(self, *, protected: bool) -> dict[str, Any]:
        """Have nodes send by CoAP, each its next reading once the last is acknowledged; count what arrived."""
        rig = self.rig
        keys = {name: make_keys(name) if protected else {} for name in map("coap-{:03d}".format, range(COAP_NODES))}
        path = rig.directory / "nodes.json"
        former = path.read_text()
        path.write_text(file.text([Node(name, keys=keys[name]) for name in keys]))
        # Only now: a gateway without CoAP does without the memory that it takes.
        rig.reload(rig.text(tls=f"[listeners.coap]\nport = {self.coap_port}\nallow_plain = true"))
        rig.wait_for(lambda status: status["listeners"].get("coap", {}).get("connected"), "the listener")
        before = rig.relay.status()["confirmed"]
        processes.forget_peak(rig.relay)
        used = processes.cpu(rig.relay)
        process, results = load.start(coap.flood, coap.Target(self.coap_port, keys, COAP_REQUESTS))
        sent = results.get(timeout=180)
        rig.wait_for(lambda status: status["confirmed"] >= before + sent["readings"], "all confirmed", timeout=120)
        used = processes.cpu(rig.relay) - used
        process.join(10)
        path.write_text(former)
        figures = {
            "requests_per_s": round(sent["requests"] / sent["seconds"]),
            "relay_cpu_us_per_request": round(used / sent["requests"] * 1e6, 1),
            "rss_mb": round(processes.peak_mb(rig.relay), 1),
            "acknowledged": sent["acknowledged"],
            "repeated": sent["repeated"],
        }
        rig.reload(rig.text())
        return {**figures, **self.count(sent["readings"])}

    def hold(self) -> dict[str, Any]:
        """Connect many clients and see how many are and stay connected, and what they cost."""
        names = [f"idle-{number:05d}" for number in range(self._options.clients)]
        self.rig.write_nodes(dict.fromkeys(names, load.PASSWORD))
        self.rig.relay.signal(signal.SIGHUP)
        self.rig.wait_for(lambda status: status["nodes"]["known"] == len(names), "the nodes known")
        stop = load.event()
        before = processes.rss_mb(self.rig.relay)
        begin = time.monotonic()
        process, results = load.start(load.hold, self.rig.port, self._options.clients, stop)
        connected = results.get(timeout=240)
        seconds = time.monotonic() - begin
        time.sleep(2)
        used = processes.cpu(self.rig.relay)
        time.sleep(5)
        idle = (processes.cpu(self.rig.relay) - used) / 5 * 100
        clients = self.rig.relay.status()["listeners"]["mqtt"]["clients"]
        memory = processes.rss_mb(self.rig.relay)
        stop.set()
        alive = results.get(timeout=120)
        process.join(30)
        return {
            "connected": min(connected, clients),
            "answered_a_ping": alive,
            "connects_per_s": round(connected / seconds),
            "relay_rss_mb": round(memory, 1),
            "relay_kb_per_client": round((memory - before) * 1000 / max(1, connected), 1),
            "relay_idle_cpu_percent": round(idle, 1),
        }
