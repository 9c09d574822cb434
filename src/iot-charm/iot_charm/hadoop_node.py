"""A machine of the Hadoop cluster: its software, its daemons, and what they say of themselves over HTTP."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from iot_charm import distribution, hadoop, services
from iot_charm.files import ensure_directory
from iot_charm.java import ensure_java
from iot_charm.users import ensure_system_user

CONF = Path("/etc/hadoop/conf")
DATA = Path("/var/lib/hadoop")

GROUP = "hadoop"


def ensure_software(archive: Path, users: Sequence[str]) -> None:
    """Install Java, Hadoop and the system users that its daemons run as.

    Args:
        archive: the charm's resource ``hadoop``.
        users: names, each gets a directory ``/var/lib/hadoop/<name>`` of its own as its home.

    Raises:
        DistributionError: the archive can't be used.
    """
    ensure_java()
    ensure_directory(DATA)
    for user in users:
        ensure_system_user(user, home=DATA / user, groups=[GROUP])
    distribution.ensure_installed(archive, "hadoop")


def version() -> str:
    """Return the version of the installed Hadoop, or an empty text where there is none."""
    jars = sorted((hadoop.HOME / "lib").glob("hadoop-common-[0-9]*.jar"))
    return jars[0].stem.removeprefix("hadoop-common-") if jars else ""


def ensure_daemon(
    name: str,
    command: Sequence[str],
    *,
    user: str,
    heap_mb: int,
    sites: Mapping[str, hadoop.Properties],
    options: Sequence[str] = (),
    restart: bool = False,
) -> bool:
    """Have a daemon running from the installed software, with this heap and what ``sites`` says.

    Args:
        name: of its service.
        command: name of the launcher and its arguments, as ``["hdfs", "namenode"]``.
        user: that it runs as.
        heap_mb: the most its Java heap may take, MiB.
        sites: those properties, by file, that it reads only when it starts.
        options: further ones of its JVM.
        restart: start it anew in any case.

    Returns:
        Whether it was started or restarted.
    """
    text = services.daemon_unit(
        f"Hadoop {command[-1]}",
        [str(hadoop.HOME / "bin" / command[0]), *command[1:]],
        user=user,
        environment={
            **environment(),
            "HADOOP_DAEMON_OPTS": " ".join([f"-Xmx{heap_mb}m", *options]),
            # Each thread's own arena of the C library costs tens of MB over a day, and gains nothing here.
            "MALLOC_ARENA_MAX": "2",
        },
        # Some of them end with status 0 when the master they report to is gone for long.
        directives={"WorkingDirectory": str(DATA / user), "Restart": "always"},
    )
    services.ensure_unit(name, text)
    origins = [hadoop.HOME, json.dumps(sites, sort_keys=True)]
    return services.ensure_running(name, origins, restart=restart)


def environment() -> dict[str, str]:
    """Return the variables that Hadoop's launchers need."""
    return {"HADOOP_CONF_DIR": str(CONF), "JAVA_HOME": str(ensure_java())}


def get_json(url: str, timeout_s: float = 10) -> dict[str, Any] | None:
    """Ask a daemon's web server; None stands for one that does not answer (yet)."""
    try:
        answer = requests.get(url, headers={"Accept": "application/json"}, timeout=timeout_s)
        answer.raise_for_status()
        return answer.json()
    except (requests.ConnectionError, requests.Timeout, requests.HTTPError, requests.JSONDecodeError):
        return None


def get_bean(host: str, port: int, name: str) -> dict[str, Any] | None:
    """Read a management bean of a daemon, as ``Hadoop:service=NameNode,name=NameNodeInfo``.

    Returns:
        Its attributes, or None while the daemon does not answer or does not have it.
    """
    answer = get_json(f"http://{host}:{port}/jmx?qry={name}")
    beans: list[dict[str, Any]] = answer.get("beans", []) if answer else []
    return beans[0] if beans else None
