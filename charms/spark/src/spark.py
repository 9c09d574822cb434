"""Spark on this machine: its software and how it is configured."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from iot_charm import distribution, hadoop
from iot_charm.files import ensure_directory, ensure_file
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.java import ensure_java
from iot_charm.users import ensure_system_user

logger = logging.getLogger(__name__)

USER = "spark"
HOME = Path("/opt/spark")
CONF, HADOOP_CONF = Path("/etc/spark/conf"), Path("/etc/spark/hadoop")
DATA = Path("/var/lib/spark")
PI_JOB = DATA / "jobs" / "pi.py"
PROFILE = Path("/etc/profile.d/spark.sh")
"""Sets a login shell up for Spark."""

PYTHON = "/usr/bin/python3"
"""On this machine and on the workers: what PySpark runs Python code with."""

HISTORY_PORT = 18080


@dataclass(frozen=True)
class Settings:
    """What Spark is configured by."""

    address: str
    """Where executors reach a driver on this machine."""
    execution_mode: Literal["local", "yarn-client", "yarn-cluster"]
    driver_memory: str
    executor_memory: str
    executor_instances: int
    archive: str
    """Full HDFS URI of the zip of Spark's jars."""
    event_log_dir: str
    """Full HDFS URI."""
    namenode: NameNode
    resourcemanager: ResourceManager | None


def install(archive: Path) -> None:
    """Install Java, Spark and its user.

    Raises:
        DistributionError: the archive can't be used.
    """
    ensure_java()
    ensure_system_user(USER, home=DATA)
    distribution.ensure_installed(archive, "spark")
    ensure_directory(PI_JOB.parent)
    ensure_file(PI_JOB, (files("iot_lake") / "pi.py").read_bytes())


def version() -> str:
    """Return the version of the installed Spark, or an empty text where there is none."""
    jars = sorted((HOME / "jars").glob("spark-core_*.jar"))
    return jars[0].stem.rpartition("-")[2] if jars else ""


def build() -> str:
    """Return what tells one installation of Spark from another."""
    return HOME.resolve().name.rpartition("-")[2]


def configure(settings: Settings) -> None:
    """Write Spark's configuration, for the charm's own actions, for daemons, and for a person's shell."""
    namenode = settings.namenode
    ensure_directory(CONF.parent)
    hadoop.write_client_conf(
        HADOOP_CONF,
        namenode_host=namenode.host,
        namenode_port=namenode.port,
        replication=namenode.replication,
        block_size=namenode.block_size,
        resourcemanager=settings.resourcemanager,
    )
    ensure_directory(CONF)
    lines = [f"{name} {value}" for name, value in sorted(properties(settings).items())]
    ensure_file(CONF / "spark-defaults.conf", "\n".join([*lines, ""]))
    exports = {**environment(settings.address), "PATH": f"$PATH:{HOME / 'bin'}"}
    script = "".join(f'export {name}="{value}"\n' for name, value in exports.items())
    ensure_file(PROFILE, script)


def properties(settings: Settings) -> dict[str, str | int]:
    """Return what stands in ``spark-defaults.conf``."""
    found: dict[str, str | int] = {
        "spark.driver.memory": settings.driver_memory,
        "spark.executor.memory": settings.executor_memory,
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": settings.event_log_dir,
        "spark.eventLog.compress": "true",
        "spark.history.fs.logDirectory": settings.event_log_dir,
        "spark.history.ui.port": HISTORY_PORT,
        "spark.history.fs.cleaner.enabled": "true",
        "spark.history.fs.cleaner.maxAge": "30d",
        "spark.history.fs.update.interval": "5s",
        "spark.pyspark.python": PYTHON,
        "spark.ui.showConsoleProgress": "false",
    }
    if settings.execution_mode == "local":
        return found | {"spark.master": "local[*]"}
    return found | {
        "spark.master": "yarn",
        "spark.submit.deployMode": settings.execution_mode.removeprefix("yarn-"),
        "spark.executor.instances": settings.executor_instances,
        "spark.yarn.archive": settings.archive,
        "spark.yarn.historyServer.address": f"http://{settings.address}:{HISTORY_PORT}",
    }


def environment(address: str) -> Mapping[str, str]:
    """Return the variables that Spark's programs need."""
    return {
        "JAVA_HOME": str(ensure_java()),
        "SPARK_HOME": str(HOME),
        "SPARK_CONF_DIR": str(CONF),
        "HADOOP_CONF_DIR": str(HADOOP_CONF),
        # A driver tells the executors this address, and not a name that only this machine may know.
        "SPARK_LOCAL_IP": address,
        "SPARK_LOCAL_HOSTNAME": address,
        "PYSPARK_PYTHON": PYTHON,
    }


def uninstall() -> None:
    """Remove configuration and data; the software stays under /opt."""
    for path in (CONF.parent, DATA):
        shutil.rmtree(path, ignore_errors=True)
    PROFILE.unlink(missing_ok=True)
