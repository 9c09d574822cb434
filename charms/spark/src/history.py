"""Spark's history server on this machine, and what it and YARN know of applications."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

import spark
from iot_charm import services
from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_file, remove
from iot_charm.interfaces.mapred import ResourceManager

SERVICE = "spark-history-server"
STOPPED = spark.DATA / "history-stopped"
"""Is there while an operator wants the history server stopped."""

START_TIMEOUT_S = 120


class HistoryError(IotCharmError):
    """The history server or YARN did not do what was asked; the text says why."""


@dataclass(frozen=True)
class Job:
    """An application."""

    identifier: str
    name: str
    user: str
    state: str
    started: datetime | None
    seconds: float | None


def ensure_running(address: str, *, heap_mb: int, restart: bool) -> bool:
    """Have the history server running with Spark's software and configuration, unless an operator stopped it.

    Args:
        address: that it listens on.
        heap_mb: the most its Java heap may take, MiB.
        restart: start it anew in any case.

    Returns:
        Whether it was started or restarted.
    """
    text = services.daemon_unit(
        "Spark history server",
        [str(spark.HOME / "bin" / "spark-class"), "org.apache.spark.deploy.history.HistoryServer"],
        user=spark.USER,
        environment={
            **spark.environment(address),
            "SPARK_DAEMON_MEMORY": f"{heap_mb}m",
            "MALLOC_ARENA_MAX": "2",
        },
        directives={
            "WorkingDirectory": str(spark.DATA),
            "NoNewPrivileges": "yes",
            "PrivateTmp": "yes",
            "ProtectSystem": "full",
            "ProtectHome": "yes",
        },
    )
    services.ensure_unit(SERVICE, text)
    if is_stopped():
        return False
    return services.ensure_running(SERVICE, [spark.HOME, spark.CONF, spark.HADOOP_CONF], restart=restart)


def wait(address: str) -> bool:
    """Wait until the history server answers; False if it does not within two minutes."""
    deadline = time.monotonic() + START_TIMEOUT_S
    services.wait_for_port(address, spark.HISTORY_PORT, START_TIMEOUT_S)
    while not answers(address):
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def is_stopped() -> bool:
    """Tell whether an operator stopped it."""
    return STOPPED.exists()


def stop() -> None:
    """Stop it until :func:`allow_start`."""
    ensure_file(STOPPED, "")
    services.stop(SERVICE)


def allow_start() -> None:
    """Forget that an operator stopped it."""
    remove(STOPPED)


def uninstall() -> None:
    """Stop it for good."""
    services.disable(SERVICE)


def answers(address: str) -> bool:
    """Tell whether the history server answers."""
    try:
        return requests.get(_url(address), params={"limit": 1}, timeout=15).ok
    except requests.RequestException:
        return False


def jobs(address: str, resourcemanager: ResourceManager | None, limit: int) -> list[Job]:
    """List applications, the latest first: YARN's view of one wins over the history server's.

    Raises:
        HistoryError: neither answers.
    """
    found: dict[str, Job] = {}
    failures: list[str] = []
    try:
        found.update((job.identifier, job) for job in _from_history(address, limit))
    except requests.RequestException as error:
        failures.append(f"the history server does not answer: {error}")
    if resourcemanager is not None:
        try:
            found.update((job.identifier, job) for job in _from_yarn(resourcemanager))
        except requests.RequestException as error:
            failures.append(f"YARN does not answer: {error}")
    if not found and failures:
        raise HistoryError("; ".join(failures))
    earliest = datetime.min.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda job: job.started or earliest, reverse=True)[:limit]


def kill(resourcemanager: ResourceManager, application: str) -> None:
    """Have YARN kill an application; one that ended stays as it is.

    Raises:
        HistoryError: YARN refused or does not answer.
    """
    url = f"http://{resourcemanager.host}:{resourcemanager.web_port}/ws/v1/cluster/apps/{application}/state"
    try:
        answer = requests.put(url, json={"state": "KILLED"}, params={"user.name": spark.USER}, timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise HistoryError(f"can't kill {application}: {error}") from error


def _from_history(address: str, limit: int) -> list[Job]:
    answer = requests.get(_url(address), params={"limit": limit}, timeout=10)
    answer.raise_for_status()
    found: list[Job] = []
    for application in answer.json():
        attempt: dict[str, Any] = application["attempts"][0]
        completed = bool(attempt["completed"])
        end = attempt["endTimeEpoch"] if completed else time.time() * 1000
        found.append(
            Job(
                identifier=application["id"],
                name=application["name"],
                user=attempt["sparkUser"],
                state="COMPLETED" if completed else "RUNNING",
                started=_time(attempt["startTimeEpoch"]),
                seconds=(end - attempt["startTimeEpoch"]) / 1000,
            )
        )
    return found


def _from_yarn(resourcemanager: ResourceManager) -> list[Job]:
    url = f"http://{resourcemanager.host}:{resourcemanager.web_port}/ws/v1/cluster/apps"
    answer = requests.get(url, params={"applicationTypes": "SPARK"}, timeout=10)
    answer.raise_for_status()
    # Without any application YARN answers {"apps": null}.
    apps: dict[str, list[dict[str, Any]]] = answer.json()["apps"] or {}
    return [
        Job(
            identifier=application["id"],
            name=application["name"],
            user=application["user"],
            state=application["finalStatus"] if application["state"] == "FINISHED" else application["state"],
            started=_time(application["startedTime"]),
            seconds=application["elapsedTime"] / 1000,
        )
        for application in apps.get("app", [])
    ]


def _time(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC) if milliseconds > 0 else None


def _url(address: str) -> str:
    return f"http://{address}:{spark.HISTORY_PORT}/api/v1/applications"
