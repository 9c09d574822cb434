"""A relay at a real RabbitMQ that nodes reach directly, with users of their own; the nodes are pika's clients.

What the broker's charm declares is declared here in the same names: exchanges, queues, users, permissions.
"""

import json
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
from daemons import RabbitMq, answers, free_port, wait_until
from pika.adapters.blocking_connection import BlockingChannel
from relay_rig import BATCH, WINDOW, RelayProcess

from iot_gateway import control
from iot_gateway.errors import NotRunningError
from iot_gateway.nodes import file
from iot_gateway.nodes.provisioning import Given, provision
from iot_telemetry import Reading, batch

SITE, GATEWAY = "site-1", "gateway-0"
KEY = f"{SITE}.{GATEWAY}"
USERNAME = "gateway"
"""Of the gateway's application at the broker: its nodes' users are called ``gateway.<node>``."""
NODES = ("node-1", "node-2", "node-3")
QUEUE = f"iot.nodes.{KEY}"
PREFETCH = 100
BOUND = PREFETCH + BATCH * WINDOW
"""Readings that a kill may have sent twice: what the relay had taken, and what the uplink had sent."""


def commands_queue(node: str) -> str:
    return f"iot.node-commands.{USERNAME}.{node}"


class NodesBroker(RabbitMq):
    """A node with the management API, and AMQP 1.0."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self.management_port = free_port()
        with (directory / "rabbitmq.conf").open("a") as configuration:
            configuration.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n")
        (directory / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_amqp1_0].\n")

    def ready(self) -> bool:
        return super().ready() and answers(self.management_port)

    def api(self, method: str, *path: str, **body: Any) -> None:
        quoted = "/".join(urllib.parse.quote(part, safe="") for part in path)
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        address = f"http://127.0.0.1:{self.management_port}/"
        passwords.add_password(None, address, self.USER, self.PASSWORD, is_authenticated=True)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords)
        )
        request = urllib.request.Request(
            f"{address}api/{quoted}",
            json.dumps(body).encode() if method == "PUT" else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        opener.open(request, timeout=20).close()


class PikaNode:
    """A node: a connection of its own, publishing with confirms."""

    def __init__(self, rig: "AmqpRig", name: str):
        self.name = name
        self.key = f"{KEY}.{name}"
        self.sent = 0
        self.nacked = 0
        self.connection = rig.connect(f"{USERNAME}.{name}", rig.passwords[name])
        self.channel: BlockingChannel = self.connection.channel()
        self.channel.confirm_delivery()

    def publish(self, body: bytes, *more: str, **properties: Any) -> None:
        """Publish, and wait for the confirm."""
        key = ".".join((self.key, *more))
        self.channel.basic_publish(
            "iot.nodes", key, body, pika.BasicProperties(delivery_mode=2, **properties), mandatory=True
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

    def __init__(self, directory: Path, broker: NodesBroker, *, nodes_max_bytes: int = 100_000_000):
        self.broker = broker
        self.vhost = directory.name
        self.passwords: dict[str, str] = {}
        self.connections: list[pika.BlockingConnection] = []
        self.seen: Counter[tuple[str, int | None]] = Counter()
        self.received: list[Reading] = []
        self.directory = directory
        made = [provision(name, ["amqp"], Given()) for name in NODES]
        self.declare(nodes_max_bytes)
        for each in made:
            self.passwords[each.node.name] = each.shown["amqp-password"]
            self.add_user(each.node.name, each.node.keys["amqp-password-hash"])
        self.relay = RelayProcess(
            directory,
            self.text(),
            '[uplink]\npassword = "gateway-password"\n[listeners.amqp]\npassword = "gateway-password"\n',
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
commands_queue_prefix = "iot.node-commands.{USERNAME}."
prefetch = {PREFETCH}
[uplink]
host = "127.0.0.1"
port = {self.broker.port}
vhost = "{self.vhost}"
username = "{USERNAME}"
"""

    def declare(self, nodes_max_bytes: int) -> None:
        api, vhost = self.broker.api, self.vhost
        api("PUT", "vhosts", vhost)
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        api("PUT", "permissions", vhost, self.broker.USER, **everything)
        quorum = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        api(
            "PUT", "policies", vhost, "nodes", pattern=r"^iot\.nodes\.", **{"apply-to": "queues"},
            definition={
                "overflow": "reject-publish", "max-length-bytes": nodes_max_bytes, "delivery-limit": 10_000,
                "dead-letter-exchange": "iot.dead-letters",
            },
        )  # fmt: skip
        for exchange, kind in (("telemetry", "topic"), ("dead-letters", "fanout")):
            api("PUT", "exchanges", vhost, f"iot.{exchange}", type=kind, durable=True)
            api("PUT", "queues", vhost, f"iot.{exchange}", **quorum)
        for exchange in ("iot.nodes", "iot.node-commands"):
            api("PUT", "exchanges", vhost, exchange, type="topic", durable=True)
        api("PUT", "queues", vhost, QUEUE, **quorum)
        with self.channel() as channel:
            channel.queue_bind("iot.telemetry", "iot.telemetry", "#")
            channel.queue_bind("iot.dead-letters", "iot.dead-letters")
            channel.queue_bind(QUEUE, "iot.nodes", f"{KEY}.#")
        api("PUT", "users", USERNAME, password="gateway-password", tags="")
        api(
            "PUT", "permissions", vhost, USERNAME, configure="^$",
            write=r"^iot\.(telemetry|dead-letters|node-commands)$", read=rf"^{QUEUE}$",
        )  # fmt: skip
        mine = KEY.replace(".", r"\.")
        api("PUT", "topic-permissions", vhost, USERNAME, exchange="iot.node-commands", write=rf"^{mine}\.", read="^$")

    def add_user(self, node: str, password_hash: str) -> None:
        api, vhost, user, queue = self.broker.api, self.vhost, f"{USERNAME}.{node}", commands_queue(node)
        api("PUT", "users", user, password_hash=password_hash, tags="")
        api("PUT", "permissions", vhost, user, configure="^$", write=r"^iot\.nodes$", read=f"^{queue}$")
        key = f"{KEY}.{node}".replace(".", r"\.")
        api("PUT", "topic-permissions", vhost, user, exchange="iot.nodes", write=rf"^{key}(\..*)?$", read="^$")
        api("PUT", "queues", vhost, queue, durable=True)
        with self.channel() as channel:
            channel.queue_bind(queue, "iot.node-commands", f"{KEY}.{node}")

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
        taken: list[tuple[Any, bytes]] = []
        with self.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return taken
                taken.append((properties, body or b""))

    def collect(self) -> None:
        """Take the readings off the telemetry queue and count each."""
        for properties, body in self.messages("iot.telemetry"):
            for line in batch.decode(body, properties.content_encoding or "identity"):
                reading = Reading.from_line(line)
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
        """Wait until the relay's status meets a condition; return that status."""
        seen: dict[str, Any] = {}

        def met() -> bool:
            try:
                seen.update(self.relay.status())
            except NotRunningError:
                return False
            return bool(condition(seen))

        try:
            wait_until(met, timeout, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {seen}\n{self.relay.log.read_text()[-2000:]}") from error
        return seen

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
        self.broker.api("DELETE", "vhosts", self.vhost)
        for user in (USERNAME, *(f"{USERNAME}.{name}" for name in self.passwords)):
            self.broker.api("DELETE", "users", user)
