"""The steps that prove the chain, given any Juju client: used by ``make up`` and by the model tests.

Each step runs one action of one charm and returns what it answered, typed. A step knows no addresses and no
machines; what it needs of the other end comes out of the action before it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jubilant

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

RunAction = Callable[[str, str, Mapping[str, object]], Mapping[str, str]]
"""Runs an action: unit, action, parameters -> its results. Raises if the action fails."""


@dataclass(frozen=True)
class Sent:
    """A finished run of ``generate-data``."""

    node: str
    """The sub-node that the run's readings belong to."""
    readings: int
    seconds: float


@dataclass(frozen=True)
class Ingested:
    """What ``verify-ingestion`` found in HDFS."""

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


def run_with(juju: jubilant.Juju, *, wait: float = 900) -> RunAction:
    """Run actions through ``juju``, quietly."""

    def run(unit: str, action: str, params: Mapping[str, object]) -> Mapping[str, str]:
        return juju.run(unit, action, dict(params), wait=wait).results

    return run


def generate(run: RunAction, *, count: int, rate: int = 0, seed: int = 1) -> Sent:
    """Send ``count`` readings from the sensor node; returns once the gateway has acknowledged all of them."""
    results = run("sensor-node/0", "generate-data", {"count": count, "rate": rate, "seed": seed})
    return Sent(results["node"], int(results["sent"]), float(results["seconds"]))


def verify(run: RunAction, sent: Sent, *, timeout_s: int = 180) -> Ingested:
    """Wait for a run's readings to be in HDFS and count them."""
    results = run("flume-hdfs/0", "verify-ingestion", {"node": sent.node, "sent": sent.readings, "timeout": timeout_s})
    return Ingested(
        results["listing"],
        int(results["sent"]),
        int(results["in-hdfs"]),
        int(results["lost"]),
        int(results["duplicated"]),
    )


def run_notebook(run: RunAction, sent: Sent) -> Notebook:
    """Run the tutorial notebook over a run's readings."""
    results = run("zeppelin/0", "run-notebook", {"node": sent.node, "sent": sent.readings})
    return Notebook(int(results["count"]), results["html"], results["paragraphs"])


def problems(status: jubilant.Status) -> dict[str, str]:
    """Return what is not active yet: unit or application name -> its status and message."""
    waiting: dict[str, str] = {}
    for name, app in status.apps.items():
        if not app.units:
            waiting[name] = "no unit yet"
        for unit_name, unit in app.units.items():
            if not unit.is_active:
                workload = unit.workload_status
                waiting[unit_name] = f"{workload.current}: {workload.message}".rstrip(": ")
    return waiting


def wait_until_active(
    juju: jubilant.Juju, *, timeout_s: float = 1200, progress: Callable[[str], None] = print
) -> jubilant.Status:
    """Wait until every unit of the model is active, reporting each change.

    Raises:
        TimeoutError: with what is still missing.
    """
    deadline = time.monotonic() + timeout_s
    shown: dict[str, str] = {}
    while True:
        status = juju.status()
        now = problems(status)
        for name in sorted(shown.keys() - now.keys()):
            progress(f"{name}: active")
        for name, text in sorted(now.items()):
            if shown.get(name) != text:
                progress(f"{name}: {text}")
        shown = now
        if status.apps and not now:
            return status
        if time.monotonic() > deadline:
            missing = "; ".join(f"{name} {text}" for name, text in sorted(now.items()))
            raise TimeoutError(f"not active after {timeout_s:.0f} s: {missing}")
        time.sleep(1)
