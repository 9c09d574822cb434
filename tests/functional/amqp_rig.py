"""A relay at a real RabbitMQ that nodes reach directly, with users of their own; the nodes are pika's clients.

Exchanges, queues, users and permissions are those of the broker's charm, by its own modules.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pika
from daemons import wait_until
from managed_rabbitmq import LIMITS, ManagedRabbitMq
from pika.adapters.blocking_connection import BlockingChannel
from relay_rig import BATCH, WINDOW, RelayProcess, readings_of, taken

import topology
from iot_gateway import control
from iot_gateway.nodes import file
from iot_gateway.nodes.provisioning import Given, provision
from iot_telemetry import Reading
from node_users import GatewayNodes, ensure_node_users

SITE, GATEWAY = "site-1", "gateway-0"
KEY = f"{SITE}.{GATEWAY}"
USERNAME = "gateway"
"""Of the gateway's application at the broker: its nodes' users are called ``gateway.<node>``."""
PASSWORD = "gateway-password"
NODES = ("node-1", "node-2", "node-3")
QUEUE = topology.NODES.queue(KEY)
PREFETCH = 100
BOUND = PREFETCH + BATCH * WINDOW
"""Readings that a kill may have sent twice: what the relay had taken, and what the uplink had sent."""


def commands_queue(node: str) -> str:
    return topology.node_commands_queue(topology.node_user(USERNAME, node))


class PikaNode:
    """A node: a connection of its own, publishing with confirms."""

    def __init__(self, rig: "AmqpRig", name: str):
        self.name = name
        self.key = f"{KEY}.{name}"
        self.sent = 0
        self.connection = rig.connect(topology.node_user(USERNAME, name), rig.passwords[name])
        self.channel: BlockingChannel = self.connection.channel()
        self.channel.confirm_delivery()

    def publish(self, body: bytes, *more: str, **properties: Any) -> None:
        """Publish, and wait for the confirm."""
        key = ".".join((self.key, *more))
        self.channel.basic_publish(
            topology.NODES_EXCHANGE, key, body, pika.BasicProperties(delivery_mode=2, **properties), mandatory=True
        )

    def send(self, count: int, padding: int = 0) -> None:
        """Publish readings one by one, numbered over all that this node has sent."""
        for _ in range(count):
            value = f'"vs":"{"x" * padding}"' if padding else '"v":20.5'
            self.publish(b'[{"n":"%s/temperature",%s,"seq":%d}]' % (self.name.encode(), value.encode(), self.sent))
            self.sent += 1

    def report(self, identifier: str, state: str) -> None:
        self.publish(json.dumps({"id": identifier, "state": state}).encode(), "command-state")

    def take_command(self, timeout: float = 15) -> dict[str, Any]:
        """Consume this node's commands until one comes; acknowledge it."""
        for method, properties, body in self.channel.consume(commands_queue(self.name), inactivity_timeout=timeout):
            assert method is not None, "no command came"
            assert properties.content_type == "application/json"
            self.channel.basic_ack(method.delivery_tag)
            command = json.loads(body)
            assert properties.message_id == command["id"]
            assert method.routing_key == self.key
            return command
        raise AssertionError("the broker cancelled the consumer")

    def close(self) -> None:
        self.connection.close()


class Sending:
    """A node that sends readings until it is told to stop."""

    def __init__(self, node: PikaNode):
        self.node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.node.send(1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)


class AmqpRig:
    """A virtual host with the topology and users, and a relay."""

    def __init__(self, directory: Path, broker: ManagedRabbitMq, *, nodes_max_bytes: int = 100_000_000):
        self.broker = broker
        self.vhost = directory.name
        self.connections: list[pika.BlockingConnection] = []
        self.seen: Counter[tuple[str, int | None]] = Counter()
        self.received: list[Reading] = []
        self.directory = directory
        made = [provision(name, ["amqp"], Given()) for name in NODES]
        self.passwords = {each.node.name: each.shown["amqp-password"] for each in made}
        limits = replace(LIMITS, delivery_limit=10_000, nodes_max_bytes=nodes_max_bytes)
        self.declare(limits, {each.node.name: each.node.keys["amqp-password-hash"] for each in made})
        self.relay = RelayProcess(
            directory,
            self.text(),
            f'[uplink]\npassword = "{PASSWORD}"\n[listeners.amqp]\npassword = "{PASSWORD}"\n',
        )
        (directory / "nodes.json").write_text(file.text(each.node for each in made))

    def text(self) -> str:
        return f"""
site = "{SITE}"
gateway = "{GATEWAY}"
secrets_file = "secrets.toml"
nodes_file = "{self.directory}/nodes.json"
status_socket = "{self.directory}/status.sock"
batch = {{readings = {BATCH}, age_ms = 100, window = {WINDOW}}}
outbox = {{directory = "{self.directory}/outbox"}}
[[plain]]
topic = "+/raw/#"
format = "number"
[listeners.amqp]
host = "127.0.0.1"
port = {self.broker.port}
vhost = "{self.vhost}"
username = "{USERNAME}"
queue = "{QUEUE}"
commands_queue_prefix = "{commands_queue("")}"
prefetch = {PREFETCH}
[uplink]
host = "127.0.0.1"
port = {self.broker.port}
vhost = "{self.vhost}"
username = "{USERNAME}"
"""

    def declare(self, limits: topology.Limits, password_hashes: Mapping[str, str]) -> None:
        """Have the broker know what its charm tells it of a gateway and its nodes."""
        management = self.broker.management()
        management.ensure_vhost(self.vhost, limits)
        management.ensure_nodes(self.vhost, [KEY], limits)
        management.ensure_user(USERNAME, PASSWORD)
        management.ensure_permissions(self.vhost, USERNAME, topology.permissions({"publish"}, nodes={KEY}))
        management.ensure_topic_permissions(self.vhost, USERNAME, topology.topic_permissions({"publish"}, {KEY}))
        ensure_node_users(management, [GatewayNodes(USERNAME, self.vhost, KEY, password_hashes)])

    def connect(self, user: str, password: str) -> pika.BlockingConnection:
        made = pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1", self.broker.port, self.vhost, pika.PlainCredentials(user, password), socket_timeout=5
            )
        )
        self.connections.append(made)
        return made

    def channel(self) -> BlockingChannel:
        return self.connect(self.broker.USER, self.broker.PASSWORD).channel()

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        with self.channel() as channel:
            return channel.queue_declare(queue, passive=True).method.message_count

    def messages(self, queue: str) -> list[tuple[Any, bytes]]:
        """Take all messages off a queue."""
        with self.channel() as channel:
            return [*taken(channel, queue)]

    def collect(self) -> None:
        """Take the readings off the telemetry queue and count each."""
        for message in self.messages(topology.QUEUE):
            for reading in readings_of(*message):
                self.received.append(reading)
                self.seen[reading.node, reading.seq] += 1

    def wait_for_readings(self, count: int, timeout: float = 60) -> None:
        """Collect until so many different readings have come, and what else comes in a moment after that."""

        def there() -> bool:
            self.collect()
            return len(self.seen) >= count

        try:
            wait_until(there, timeout, f"{count} readings")
        except TimeoutError as error:
            raise AssertionError(
                f"{error}; {len(self.seen)} came; {self.relay.status()}\n{self.relay.log.read_text()[-2000:]}"
            ) from error
        time.sleep(1)
        self.collect()

    def wait_for(self, condition: Callable[[dict[str, Any]], Any], what: str, timeout: float = 30) -> dict[str, Any]:
        return self.relay.wait_for(condition, what, timeout)

    def start(self) -> None:
        self.relay.start()
        self.wait_for(lambda s: s["listeners"]["amqp"]["connected"] and s["uplink"]["connected"], "a connected relay")

    def ask(self, what: str, **fields: Any) -> Any:
        return control.ask(self.directory / "status-control.sock", {"do": what, **fields})

    def command(self, identifier: str) -> dict[str, Any]:
        (found,) = [each for each in self.ask("list-commands", limit=10000) if each["id"] == identifier]
        return found

    def wait_for_state(self, identifier: str, state: str, timeout: float = 20) -> dict[str, Any]:
        try:
            wait_until(lambda: self.command(identifier)["state"] == state, timeout, f"{identifier} {state}")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.ask('list-commands')}") from error
        return self.command(identifier)

    def close(self) -> None:
        self.relay.stop()
        for connection in self.connections:
            if connection.is_open:
                connection.close()
        management = self.broker.management()
        ensure_node_users(management, [])
        management.ensure_only_users(set())
        self.broker.delete_vhost(self.vhost)
