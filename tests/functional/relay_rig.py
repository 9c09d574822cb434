"""A relay between a real mosquitto and a real RabbitMQ, a node that publishes, and an account of what arrived."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from daemons import Daemon, RabbitMq, SiteBroker, free_port, wait_until
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pika.adapters.blocking_connection import BlockingChannel

from iot_gateway import nodes, status
from iot_gateway.errors import NotRunningError
from iot_gateway.nodes import credentials, file
from iot_telemetry import Reading, batch, senml
from iot_telemetry.accounting import Account, NodeReport

NODE, NODE_PASSWORD = "node-1", "node-password"
NODES = {NODE: NODE_PASSWORD, "node-2": "password-2"}
ACL = """user iot-gateway
topic readwrite telemetry/#
topic write commands/#

pattern read commands/%u
pattern write telemetry/%u
pattern write telemetry/%u/#
pattern read command/%u/#
pattern readwrite site/#
"""
"""As the charm's, and a topic ``site`` for all."""
BATCH, WINDOW = 100, 4
BOUND = BATCH * WINDOW
"""Readings that one kill may have sent twice."""
ON_ITS_WAY = 500
"""What a node has unacknowledged at most: a kill may have stored it."""


def readings_of(properties: Any, body: bytes) -> list[Reading]:
    """Return the readings of a message."""
    return [Reading.from_line(line) for line in batch.decode(body, properties.content_encoding or "identity")]


def taken(channel: BlockingChannel, queue: str) -> Iterator[tuple[Any, bytes]]:
    """Take the messages off a queue, one by one, until there is none."""
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        yield message[1:]


class RelayProcess(Daemon):
    """``iot-gateway run`` with a configuration in its directory."""

    def __init__(self, directory: Path, settings: str, secrets: str):
        self.config = directory / "config.toml"
        self.socket = directory / "status.sock"
        super().__init__(directory, [sys.executable, "-m", "iot_gateway", "run", "--config", str(self.config)])
        self.configure(settings)
        path = directory / "secrets.toml"
        path.touch(0o600)
        path.write_text(secrets)

    def configure(self, settings: str) -> None:
        self.config.write_text(settings)

    def ready(self) -> bool:
        try:
            return self.status()["gateway"] != ""
        except NotRunningError:
            return False

    def status(self) -> dict[str, Any]:
        return status.ask(self.socket)

    def wait_for(self, condition: Callable[[dict[str, Any]], Any], what: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until the status meets a condition; return that status."""
        seen: dict[str, Any] = {}

        def met() -> bool:
            try:
                seen.update(self.status())
            except NotRunningError:
                return False
            return bool(condition(seen))

        try:
            wait_until(met, timeout, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {seen}\n{self.log.read_text()[-2000:]}") from error
        return seen

    def resources(self) -> tuple[float, float]:
        """Return the CPU seconds it used and its resident memory in MB."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Node:
    """A node that publishes at QoS 1, with paho: not our codec. It counts from 0 over all its publishing."""

    def __init__(
        self, port: int, user: str = NODE, password: str = NODE_PASSWORD, *, protocol: int = mqtt.MQTTv311, qos: int = 1
    ):
        self.user = user
        self.sent = 0
        self._qos = qos
        self._unacknowledged = threading.Semaphore(ON_ITS_WAY)
        # With a session that outlives the connection, as a node wants that sends again what was not acknowledged.
        kept: dict[str, Any] = {} if protocol == mqtt.MQTTv5 else {"clean_session": False}
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=user,
            protocol=mqtt.MQTTProtocolVersion(protocol),
            **kept,
        )
        self._client.username_pw_set(user, password)
        self._client.max_inflight_messages_set(ON_ITS_WAY)
        self._client.on_publish = lambda *_: self._unacknowledged.release()
        self._client.reconnect_delay_set(1, 1)
        if protocol == mqtt.MQTTv5:
            kept_for = Properties(PacketTypes.CONNECT)
            kept_for.SessionExpiryInterval = 3600
            self._client.connect("127.0.0.1", port, clean_start=False, properties=kept_for)
        else:
            self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def payload(self, records: int = 1, *, padding: int = 0) -> bytes:
        now = time.time()
        made = [
            senml.SenmlRecord(f"{self.user}/temperature", now, "Cel", 20.0 + index % 10 / 10, seq=self.sent + index)
            for index in range(records)
        ]
        if padding:
            made = [record._replace(value=None, text="x" * padding) for record in made]
        self.sent += records
        return senml.encode(made, base_name=f"{self.user}/", base_time=now)

    def publish(self, payload: bytes, topic: str | None = None) -> None:
        """Publish as soon as fewer than 500 messages are unacknowledged."""
        assert self._unacknowledged.acquire(timeout=60), "the broker acknowledges nothing"
        self._client.publish(topic or f"telemetry/{self.user}", payload, qos=self._qos)

    def send(self, messages: int, *, rate: float | None = None, padding: int = 0) -> None:
        begin = time.monotonic()
        for index in range(messages):
            self.publish(self.payload(padding=padding))
            if rate and (ahead := index / rate - (time.monotonic() - begin)) > 0.005:
                time.sleep(ahead)

    def close(self) -> None:
        """Wait for the last acknowledgement and leave."""
        for _ in range(ON_ITS_WAY):
            assert self._unacknowledged.acquire(timeout=60), "the broker acknowledges nothing"
        self._client.disconnect()
        self._client.loop_stop()


class Rig:
    """Everything between a node and the queue."""

    def __init__(self, directory: Path, rabbitmq: RabbitMq, mosquitto: SiteBroker, **settings: Any):
        self.directory = directory
        self.rabbitmq = rabbitmq
        self.mosquitto = mosquitto
        self.port = free_port()
        self.names = {"telemetry": f"{directory.name}.telemetry", "dead-letters": f"{directory.name}.dead-letters"}
        self.settings = settings
        self.relay = RelayProcess(
            directory,
            self.text(),
            f"""
[uplink]
password = "{RabbitMq.PASSWORD}"
""",
        )
        self.write_nodes(settings.pop("nodes", NODES))
        self.declare()

    def write_nodes(self, passwords: Mapping[str, str], *, keep: bool = False) -> None:
        """Write the file of nodes; the relay reads it when it starts or reloads.

        Args:
            passwords: of the nodes, by name.
            keep: whether a node that is there keeps its hash, and so is not changed.
        """
        path = self.directory / "nodes.json"
        known = file.read(path) if keep else {}
        made = [known.get(name) or nodes.Node(name, credentials.make(password)) for name, password in passwords.items()]
        path.write_text(file.text(made))

    def text(self, **changes: Any) -> str:
        """Return the relay's configuration; ``changes`` win over what the rig was made with."""
        chosen = {
            "site": "site-1",
            "gateway": "gateway-0",
            "batch": f"{{readings = {BATCH}, age_ms = 100, window = {WINDOW}}}",
            "outbox": f'{{directory = "{self.directory}/outbox"}}',
            "resend": "{}",
            "mqtt": "",
            "tls": "",
            "uplink_port": self.rabbitmq.port,
            "uplink": "",
            **self.settings,
            **changes,
        }
        return f"""
site = "{chosen["site"]}"
gateway = "{chosen["gateway"]}"
log_level = "INFO"
secrets_file = "secrets.toml"
nodes_file = "{self.directory}/nodes.json"
status_socket = "{self.directory}/status.sock"
batch = {chosen["batch"]}
outbox = {chosen["outbox"]}
resend = {chosen["resend"]}
[listeners.mqtt]
port = {self.port}
broker = "{self.mosquitto.socket}"
{chosen["mqtt"]}
{chosen["tls"]}
[uplink]
host = "127.0.0.1"
port = {chosen["uplink_port"]}
username = "{RabbitMq.USER}"
exchanges = {{ telemetry = "{self.names["telemetry"]}", dead-letters = "{self.names["dead-letters"]}" }}
{chosen["uplink"]}
"""

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with contextlib.closing(self.rabbitmq.connect()) as connection:
            yield connection.channel()

    def declare(self) -> None:
        """What the broker's charm declares, under names of this rig's own."""
        with self.channel() as channel:
            for name, kind in zip(self.names.values(), ("topic", "fanout"), strict=True):
                channel.exchange_declare(name, kind, durable=True)
                channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
                channel.queue_bind(name, name, "#")

    def delete(self) -> None:
        with self.channel() as channel:
            for name in self.names.values():
                channel.queue_delete(name)
                channel.exchange_delete(name)

    def wait_for(self, condition: Callable[[dict[str, Any]], Any], what: str, timeout: float = 30) -> dict[str, Any]:
        return self.relay.wait_for(condition, what, timeout)

    def wait_until_empty(self, timeout: float = 40) -> dict[str, Any]:
        """Wait until the broker at the gateway holds nothing for the relay and the outbox nothing for the uplink."""
        last = -1

        def drained(seen: dict[str, Any]) -> bool:
            nonlocal last
            quiet = last == seen["received"]
            last = seen["received"]
            connected = seen["listeners"]["mqtt"]["connected"] and seen["uplink"]["connected"]
            empty = not (seen["waiting_bytes"] or seen["commands"]["untold"]) and not any(
                lane["entries"] for lane in seen["outbox"].values()
            )
            if not (quiet and connected and empty):
                return False
            time.sleep(0.3)  # what mosquitto has, it delivers at once
            return self.relay.status()["received"] == last

        return self.wait_for(drained, "an empty outbox", timeout)

    def messages(self, lane: str) -> list[tuple[Any, bytes]]:
        """Take all messages off a lane's queue."""
        with self.channel() as channel:
            return [*taken(channel, self.names[lane])]

    def readings(self) -> list[Reading]:
        """Take all readings off the queue."""
        return [reading for message in self.messages("telemetry") for reading in readings_of(*message)]

    def count(self, lane: str) -> int:
        """Return how many messages are in a lane's queue."""
        with self.channel() as channel:
            return channel.queue_declare(self.names[lane], passive=True).method.message_count

    def account(self, taken: Iterable[Reading] = ()) -> dict[str, NodeReport]:
        """Take all readings off the queue and count them, with those that were taken before."""
        account = Account()
        for reading in (*taken, *self.readings()):
            account.add(reading)
        return account.report()

    def settle(self, what: str, rounds: int, sent: int, bound: int, taken: Iterable[Reading] = ()) -> NodeReport:
        """Count what arrived of one node's readings: all that was sent, and no more of it twice than may come twice.

        Prints a row of the table in docs/reference/reliability.md.

        Args:
            what: was done.
            rounds: how many times.
            sent: readings that were acknowledged to the node.
            bound: of the readings that may have come twice.
            taken: readings that were taken off the queue before.
        """
        (report,) = self.account(taken).values()
        lost = sent - report.distinct
        print(f"\n| {what} | {rounds:,} | {sent:,} | {lost:,} | {report.duplicates:,} | {bound:,} |")
        assert (report.distinct, report.lost) == (sent, 0)
        assert report.duplicates <= bound
        return report

    def reload(self, text: str) -> None:
        self.relay.configure(text)
        self.relay.signal(signal.SIGHUP)

    def close(self) -> None:
        self.relay.stop()
        self.delete()
