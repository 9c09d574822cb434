"""What a user could run in the gateway's place, under the same load and in the same run."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import load
import processes
from daemons import Daemon, Mosquitto, RabbitMq, answers, free_port, wait_until

QUEUE = "peer.telemetry"
_READING = re.compile(rb'bn\\*":\\*"([^/]*)/.*?seq\\*":(\d+)')
"""In a payload, or in a JSON string that holds it."""
_ROOT = Path(__file__).parents[2]


class MqttRabbitMq(RabbitMq):
    """A RabbitMQ with its MQTT plugin."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.mqtt_port = free_port()
        (directory / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(
            configuration.read_text()
            + f"mqtt.listeners.tcp.1 = 127.0.0.1:{self.mqtt_port}\nmqtt.allow_anonymous = false\nmqtt.vhost = /\n"
        )

    def ready(self) -> bool:
        return super().ready() and answers(self.mqtt_port)


def flood(
    daemons: dict[str, Daemon], port: int, rabbitmq: RabbitMq, publishers: int, seconds: float, *, lines: bool = False
) -> dict[str, Any]:
    """Flood a peer whose readings end in :data:`QUEUE`; return its figures, and what it lost of what was acknowledged.

    With ``lines`` there may be several in a message, and each is looked at: one that came twice doesn't make up for
    one that is lost.
    """
    before = {name: processes.cpu(daemon) for name, daemon in daemons.items()}
    process, results = load.start(load.flood, load.Target(port, publishers, seconds, window=100))
    sent = results.get(timeout=seconds + 120)
    process.join(10)

    def arrived() -> int:
        connection = rabbitmq.connect()
        try:
            return connection.channel().queue_declare(QUEUE, passive=True).method.message_count
        finally:
            connection.close()

    last, quiet = -1, time.monotonic()
    while (now := arrived()) < sent["sent"] and time.monotonic() < quiet + 5:
        if now != last:
            last, quiet = now, time.monotonic()
        time.sleep(0.5)
    used = {name: (processes.cpu(daemon) - before[name]) / sent["sent"] * 1e6 for name, daemon in daemons.items()}
    arrived_once = _distinct(rabbitmq) if lines else now
    return {
        "readings_per_s": round(sent["sent"] / sent["seconds"]),
        **{f"{name}_cpu_us_per_reading": round(used[name], 2) for name in used},
        "total_cpu_us_per_reading": round(sum(used.values()), 2),
        "sent": sent["sent"],
        "acknowledged": sent["acknowledged"],
        "in_broker": arrived_once,
        "lost": sent["acknowledged"] - arrived_once,
    }


def _distinct(rabbitmq: RabbitMq) -> int:
    """Take all messages off the queue and count the readings in them, each once: by node and count."""
    found: set[tuple[bytes, bytes]] = set()
    connection = rabbitmq.connect()
    channel = connection.channel()
    while (message := channel.basic_get(QUEUE, auto_ack=True))[0] is not None:
        found.update(_READING.findall(message[2]))
    connection.close()
    return len(found)


def _declare(rabbitmq: RabbitMq, exchange: str, key: str) -> None:
    connection = rabbitmq.connect()
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_bind(QUEUE, exchange, key)
    connection.close()


def rabbitmq_mqtt(directory: Path, publishers: int, seconds: float) -> dict[str, Any]:
    """Measure RabbitMQ's MQTT plugin, into a quorum queue."""
    broker = MqttRabbitMq(directory)
    broker.start()
    try:
        connection = broker.connect()
        connection.close()
        _add_users(broker, publishers)
        _declare(broker, "amq.topic", "telemetry.#")
        return flood({"rabbitmq": broker}, broker.mqtt_port, broker, publishers, seconds)
    finally:
        broker.close()


def _add_users(broker: MqttRabbitMq, publishers: int) -> None:
    for number in range(publishers):
        name = load.node(number)
        broker.control("add_user", name, load.PASSWORD)
        broker.control("set_permissions", name, ".*", ".*", ".*")


class Telegraf(Daemon):
    """Telegraf between a mosquitto and a RabbitMQ, tuned as far as its settings go."""

    def __init__(self, program: str, directory: Path, mosquitto: Mosquitto, rabbitmq: RabbitMq):
        directory.mkdir(parents=True, exist_ok=True)
        configuration = directory / "telegraf.conf"
        configuration.write_text(
            f"""
[agent]
interval = "1s"
flush_interval = "100ms"
metric_batch_size = 1000
metric_buffer_limit = 100000
omit_hostname = true
[[inputs.mqtt_consumer]]
servers = ["tcp://127.0.0.1:{mosquitto.port}"]
topics = ["telemetry/#"]
qos = 1
persistent_session = true
client_id = "telegraf"
username = "iot-gateway"
password = "{load.PASSWORD}"
max_undelivered_messages = 20000
data_format = "value"
data_type = "string"
[[outputs.amqp]]
brokers = ["amqp://127.0.0.1:{rabbitmq.port}/"]
username = "{RabbitMq.USER}"
password = "{RabbitMq.PASSWORD}"
exchange = "peer"
exchange_type = "topic"
routing_key = "telegraf"
delivery_mode = "persistent"
use_batch_format = false
data_format = "json"
"""
        )
        super().__init__(directory, [program, "--config", str(configuration)])

    def ready(self) -> bool:
        return "Connected" in self.log.read_text()


def telegraf_program() -> str | None:
    """Return where Telegraf is: on the PATH, or built into build/telegraf (docs/explanation/gateway-speed.md)."""
    built = _ROOT / "build/telegraf"
    return shutil.which("telegraf") or (str(built) if os.access(built, os.X_OK) else None)


def telegraf(directory: Path, rabbitmq: RabbitMq, publishers: int, seconds: float) -> dict[str, Any] | None:
    """Measure Telegraf behind mosquitto, into a quorum queue; None where there is no Telegraf."""
    program = telegraf_program()
    if program is None:
        return None
    names = [load.node(number) for number in range(publishers)]
    users = {"iot-gateway": load.PASSWORD, **dict.fromkeys(names, load.PASSWORD)}
    acl = "user iot-gateway\ntopic read telemetry/#\n" + "".join(
        f"user {name}\ntopic write telemetry/{name}\n" for name in names
    )
    mosquitto = Mosquitto(directory / "mosquitto", users, acl)
    mosquitto.start()
    connection = rabbitmq.connect()
    connection.channel().exchange_declare("peer", "topic", durable=True)
    connection.close()
    _declare(rabbitmq, "peer", "#")
    peer = Telegraf(program, directory / "telegraf", mosquitto, rabbitmq)
    peer.start()
    try:
        wait_until(lambda: "Connected" in peer.log.read_text(), 20, "a connected Telegraf")
        daemons = {"telegraf": peer, "mosquitto": mosquitto, "rabbitmq": rabbitmq}
        figures = flood(daemons, mosquitto.port, rabbitmq, publishers, seconds, lines=True)
        return {**figures, "rss_mb": round(processes.peak_mb(peer), 1)}
    finally:
        peer.stop()
        mosquitto.stop()
        connection = rabbitmq.connect()
        connection.channel().queue_delete(QUEUE)
        connection.close()
