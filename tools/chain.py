"""The steps that prove the chain, for any Juju client: `make up`, tests/model and tests/juju take them.

A step is one run of one charm's action: where it runs, with which parameters, and how its results read, typed. It
knows no client, no addresses and no machines; what it needs of the other end comes out of the step before it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "bundles/iot-analytics/bundle.yaml"
APPLICATIONS = (
    "sensor-node",
    "gateway",
    "rabbitmq",
    "flume-rabbitmq",
    "flume-hdfs",
    "hadoop-namenode",
    "hadoop-resourcemanager",
    "hadoop-worker",
    "spark",
    "zeppelin",
)
SENSOR_NODE = "sensor-node-0"
"""The name that the bundle's sensor node has at its gateway."""
ACTUATORS = {"actuators": "light"}
"""Options with which the sensor node takes commands, to `light`."""
DONE = ("queued", "sent", "acknowledged", "applied")
"""The states of a command that its node has done."""
COMMAND_S = 60
"""Seconds within which a command is done, and HDFS tells of it."""
READINGS = 100_000
"""How many readings are sent to see that none is lost."""
WAIT_S = 900
"""Seconds that an action may take."""
KILL_AFTER_S = 5
"""Seconds from the beginning of `generate_steadily` to a kill in its midst."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One run of an action."""

    unit: str
    action: str
    params: Mapping[str, object]
    read: Callable[[Mapping[str, str]], Result]
    """What the action's results say."""


class Run(Protocol):
    """Runs a step with some client and returns what it says; raises if the action fails."""

    def __call__(self, step: Step[Result], /) -> Result:
        """Run the step."""
        ...


@dataclass(frozen=True)
class Service:
    """A part of the chain that can be killed: a systemd service on a unit's machine."""

    unit: str
    name: str

    @property
    def kill(self) -> str:
        """The command that kills all its processes, as root on the unit's machine; systemd starts it again."""
        return f"systemctl kill --signal=KILL {self.name}"

    def __str__(self) -> str:
        """As tests are named by it."""
        return self.name


PARTS = (
    Service("gateway/0", "iot-gateway"),
    Service("flume-rabbitmq/0", "flume-rabbitmq-0"),
    Service("flume-hdfs/0", "flume-hdfs-0"),
    Service("rabbitmq/0", "rabbitmq-server"),
)
"""The parts that readings pass through; none is lost whichever is killed."""


@dataclass(frozen=True)
class Sent:
    """A finished run of `generate-data`."""

    node: str
    """The sub-node that the run's readings belong to."""
    readings: int
    seconds: float


@dataclass(frozen=True)
class AmqpNode:
    """A node that may speak AMQP: where it comes in, and what it may do there."""

    name: str
    host: str
    port: int
    """Without encryption."""
    tls_port: int
    """0 where RabbitMQ has no certificate."""
    ca: str
    """The authority of RabbitMQ's certificate, PEM."""
    username: str
    password: str
    vhost: str
    exchange: str
    routing_key: str
    commands_queue: str


@dataclass(frozen=True)
class Command:
    """A command to a node, as its gateway knows it."""

    id: str
    states: tuple[str, ...]
    """Those that it has been in, in order."""

    @property
    def lines(self) -> str:
        """The command that prints its lines in finished files of HDFS, as root on the NameNode's machine."""
        read = "/opt/hadoop/bin/hdfs dfs -text '/user/flume/flume-rabbitmq/*/FlumeData.*' 2>/dev/null"
        # Before the first file is finished, there is nothing to print.
        return f'HADOOP_USER_NAME=flume {read} | grep -F \'"command":"{self.id}"\' || true'


@dataclass(frozen=True)
class Ingested:
    """What `verify-ingestion` found in HDFS."""

    listing: str
    sent: int
    in_hdfs: int
    lost: int
    duplicated: int


@dataclass(frozen=True)
class Notebook:
    """An executed note."""

    count: int
    """What the notebook's own query counted."""
    html: str
    """Path of the rendered page on Zeppelin's unit."""
    paragraphs: str


def smoke_test(app: str) -> Step[Mapping[str, str]]:
    """Let an application's first unit try itself."""
    return Step(f"{app}/0", "smoke-test", {}, dict)


def generate(*, count: int, rate: int = 0, seed: int = 1) -> Step[Sent]:
    """Send `count` readings from the sensor node; done once the gateway has acknowledged all of them."""

    def read(results: Mapping[str, str]) -> Sent:
        return Sent(results["node"], int(results["sent"]), float(results["seconds"]))

    return Step("sensor-node/0", "generate-data", {"count": count, "rate": rate, "seed": seed}, read)


def generate_steadily() -> Step[Sent]:
    """Send `READINGS` for ten seconds: time enough to make a fault."""
    return generate(count=READINGS, rate=10_000, seed=2)


def add_amqp_node(name: str) -> Step[AmqpNode]:
    """Let a node in by AMQP; RabbitMQ knows it once the gateway is active again."""

    def read(results: Mapping[str, str]) -> AmqpNode:
        return AmqpNode(
            name=results["node"],
            host=results["host"],
            port=int(results["amqp-port"]),
            tls_port=int(results.get("amqp-tls-port", 0)),
            ca=results.get("amqp-ca", ""),
            username=results["amqp-username"],
            password=results["amqp-password"],
            vhost=results["amqp-vhost"],
            exchange=results["amqp-exchange"],
            routing_key=results["amqp-routing-key"],
            commands_queue=results["amqp-commands-queue"],
        )

    return Step("gateway/0", "add-node", {"name": name, "credentials": "amqp"}, read)


def remove_node(name: str) -> Step[Mapping[str, str]]:
    """Let a node in no more."""
    return Step("gateway/0", "remove-node", {"name": name}, dict)


def send_command(target: str, value: float) -> Step[Command]:
    """Give the sensor node a command."""
    params = {"node": SENSOR_NODE, "target": target, "value": value}
    return Step("gateway/0", "send-command", params, lambda results: _command(json.loads(results["all"])))


def show_command(identifier: str) -> Step[Command]:
    """Look at a command to the sensor node."""

    def read(results: Mapping[str, str]) -> Command:
        (found,) = (each for each in json.loads(results["all"]) if each["id"] == identifier)
        return _command(found)

    return Step("gateway/0", "list-commands", {"node": SENSOR_NODE}, read)


def _command(shown: Mapping[str, Any]) -> Command:
    return Command(shown["id"], tuple(step["state"] for step in shown["steps"]))


def verify(sent: Sent, *, timeout_s: int = 180) -> Step[Ingested]:
    """Wait for a run's readings to be in HDFS and count them."""

    def read(results: Mapping[str, str]) -> Ingested:
        numbers = (int(results[key]) for key in ("sent", "in-hdfs", "lost", "duplicated"))
        return Ingested(results["listing"], *numbers)

    params = {"node": sent.node, "sent": sent.readings, "timeout": timeout_s}
    return Step("flume-hdfs/0", "verify-ingestion", params, read)


def run_notebook(sent: Sent) -> Step[Notebook]:
    """Run the tutorial notebook over a run's readings."""

    def read(results: Mapping[str, str]) -> Notebook:
        return Notebook(int(results["count"]), results["html"], results["paragraphs"])

    return Step("zeppelin/0", "run-notebook", {"node": sent.node, "sent": sent.readings}, read)
