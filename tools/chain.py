"""The steps that prove the chain, for any Juju client: `make up`, tests/model and tests/juju take them.

A step is one run of one charm's action: where it runs, with which parameters, and how its results read, typed. It
knows no client, no addresses and no machines; what it needs of the other end comes out of the step before it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

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
WAIT_S = 900
"""Seconds that an action may take."""

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
class Sent:
    """A finished run of `generate-data`."""

    node: str
    """The sub-node that the run's readings belong to."""
    readings: int
    seconds: float


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
