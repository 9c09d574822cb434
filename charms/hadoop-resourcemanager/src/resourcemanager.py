"""The ResourceManager and the job history server on this machine."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from iot_charm import hadoop, hadoop_node, services
from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_directory, ensure_file

RESOURCEMANAGER, HISTORYSERVER = "hadoop-resourcemanager", "hadoop-historyserver"
"""Services, and the users that run them."""
YARN_USER, MAPRED_USER = "yarn", "mapred"

PORT, SCHEDULER_PORT, TRACKER_PORT, ADMIN_PORT, WEB_PORT = 8032, 8030, 8031, 8033, 8088
HISTORY_PORT, HISTORY_WEB_PORT, HISTORY_ADMIN_PORT = 10020, 19888, 10033

PORTS = (PORT, SCHEDULER_PORT, TRACKER_PORT, ADMIN_PORT, WEB_PORT, HISTORY_PORT, HISTORY_WEB_PORT)

STATE_DIRECTORY = hadoop_node.DATA / YARN_USER / "rm-state"


class JobError(IotCharmError):
    """A job on the cluster failed; the text says why."""


@dataclass(frozen=True)
class Addresses:
    """Where the daemons listen."""

    host: str
    port: int = PORT
    scheduler_port: int = SCHEDULER_PORT
    tracker_port: int = TRACKER_PORT
    web_port: int = WEB_PORT
    history_port: int = HISTORY_PORT
    history_web_port: int = HISTORY_WEB_PORT


@dataclass(frozen=True)
class FileSystem:
    """The HDFS that keeps histories and logs."""

    host: str
    """Of the NameNode."""
    port: int
    replication: int
    """Copies of a new file."""
    block_size: int


SCHEDULER: hadoop.Properties = {
    # One queue, all of which one user may take.
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": 100,
    "yarn.scheduler.capacity.root.default.maximum-capacity": 100,
    "yarn.scheduler.capacity.root.default.user-limit-factor": 100,
    "yarn.scheduler.capacity.root.default.state": "RUNNING",
    # By default a tenth, which on one small worker is less than one application master.
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.6",
    "yarn.scheduler.capacity.resource-calculator": "org.apache.hadoop.yarn.util.resource.DefaultResourceCalculator",
}


def install(archive: Path) -> None:
    """Install the software."""
    hadoop_node.ensure_software(archive, [YARN_USER, MAPRED_USER])


def is_set_up() -> bool:
    """Tell whether a ResourceManager was ever started on this machine."""
    return STATE_DIRECTORY.exists()


def ensure_resourcemanager(address: str, file_system: FileSystem | None, *, heap_mb: int) -> bool:
    """Have the ResourceManager running; it needs no HDFS.

    Args:
        address: where it listens.
        file_system: for the clients that run on this machine.
        heap_mb: the most its Java heap may take, MiB.

    Returns:
        Whether it was started or restarted.
    """
    ensure_directory(STATE_DIRECTORY, owner=YARN_USER, mode=0o700)
    yarn: hadoop.Properties = {
        **hadoop.yarn_client_properties(Addresses(address)),
        "yarn.resourcemanager.admin.address": f"{address}:{ADMIN_PORT}",
        "yarn.resourcemanager.scheduler.class": (
            "org.apache.hadoop.yarn.server.resourcemanager.scheduler.capacity.CapacityScheduler"
        ),
        "yarn.scheduler.minimum-allocation-mb": 256,
        # The bound is the largest NodeManager, not a number that someone has to keep in step with it.
        "yarn.scheduler.maximum-allocation-mb": 1048576,
        "yarn.scheduler.maximum-allocation-vcores": 512,
        # A NodeManager that is gone is noticed after a minute instead of ten.
        "yarn.nm.liveness-monitor.expiry-interval-ms": 60000,
        # Applications outlive a restart.
        "yarn.resourcemanager.recovery.enabled": True,
        "yarn.resourcemanager.work-preserving-recovery.enabled": True,
        "yarn.resourcemanager.store.class": (
            "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore"
        ),
        "yarn.resourcemanager.fs.state-store.uri": STATE_DIRECTORY.as_uri(),
    }
    hadoop.write_conf(hadoop_node.CONF, {**_client_sites(address, file_system), "yarn": yarn})
    ensure_file(hadoop_node.CONF / "capacity-scheduler.xml", hadoop.site_xml(SCHEDULER))
    return hadoop_node.ensure_daemon(
        RESOURCEMANAGER,
        ["yarn", "resourcemanager"],
        user=YARN_USER,
        heap_mb=heap_mb,
        sites={"yarn": yarn, "scheduler": SCHEDULER},
    )


def ensure_historyserver(address: str, file_system: FileSystem, *, heap_mb: int) -> bool:
    """Have the job history server running; the home directory of its user must exist in HDFS.

    Returns:
        Whether it was started or restarted.
    """
    sites = _client_sites(address, file_system)
    return hadoop_node.ensure_daemon(
        HISTORYSERVER,
        ["mapred", "historyserver"],
        user=MAPRED_USER,
        heap_mb=heap_mb,
        sites={"core": sites["core"], "mapred": sites["mapred"]},
    )


def _client_sites(address: str, file_system: FileSystem | None) -> dict[str, hadoop.Properties]:
    mapred: hadoop.Properties = {
        **hadoop.mapreduce_client_properties(Addresses(address)),
        "mapreduce.jobhistory.admin.address": f"127.0.0.1:{HISTORY_ADMIN_PORT}",
    }
    if file_system is None:
        return {"core": {"hadoop.security.authentication": "simple"}, "hdfs": {}, "mapred": mapred}
    return {
        "core": hadoop.core_properties(file_system.host, file_system.port),
        "hdfs": hadoop.hdfs_client_properties(file_system.replication, file_system.block_size),
        "mapred": mapred,
    }


def stop_historyserver() -> None:
    """Stop the job history server and remove its service; the histories stay in HDFS."""
    services.disable(HISTORYSERVER)


def stop_resourcemanager() -> None:
    """Stop the ResourceManager and remove its service."""
    services.disable(RESOURCEMANAGER)


def wait_for_resourcemanager(address: str, timeout_s: float) -> bool:
    """Wait until the ResourceManager answers."""
    return services.wait_until(lambda: nodemanagers(address) is not None, timeout_s)


def nodemanagers(address: str) -> int | None:
    """Ask the ResourceManager how many NodeManagers run; None while it does not answer."""
    answer = hadoop_node.get_json(f"http://{address}:{WEB_PORT}/ws/v1/cluster/metrics")
    return None if answer is None else int(answer["clusterMetrics"]["activeNodes"])


def wait_for_historyserver(address: str, timeout_s: float) -> bool:
    """Wait until the job history server answers."""
    return services.wait_until(lambda: has_history(address), timeout_s)


def has_history(address: str) -> bool:
    """Tell whether the job history server answers."""
    return hadoop_node.get_json(f"http://{address}:{HISTORY_WEB_PORT}/ws/v1/history/info") is not None


def smoke_test() -> float:
    """Run a job of one map and one reduce.

    Returns:
        The time it took, s.

    Raises:
        JobError: it failed.
    """
    begun = time.monotonic()
    _run_job("org.apache.hadoop.mapreduce.SleepJob", *_SMALL_TASKS, "-m", "1", "-r", "1", "-mt", "10", "-rt", "10")
    return time.monotonic() - begun


def testdfsio(mode: str, *, files: int, size_mb: int) -> dict[str, str]:
    """Write or read files in HDFS with one map task each.

    Returns:
        What was measured, by name: ``throughput`` (of all tasks together, divided by their number) and
        ``average-io-rate``, both MB/s a task, and ``seconds`` of the whole job.

    Raises:
        JobError: it failed.
    """
    output = _run_job(
        "org.apache.hadoop.fs.TestDFSIO",
        *_SMALL_TASKS,
        "-Dtest.build.data=/user/mapred/TestDFSIO",
        f"-{mode}",
        "-nrFiles",
        str(files),
        "-size",
        f"{size_mb}MB",
        "-resFile",
        "/dev/null",
        timeout_s=1800,
    )
    found = {
        name: match.group(1)
        for name, label in (
            ("throughput", "Throughput mb/sec"),
            ("average-io-rate", "Average IO rate mb/sec"),
            ("seconds", "Test exec time sec"),
        )
        if (match := re.search(rf"{label}: *([0-9.]+)", output))
    }
    if "throughput" not in found:
        raise JobError("TestDFSIO ended without a result")
    return found


_SMALL_TASKS = (
    "-Dyarn.app.mapreduce.am.resource.mb=512",
    "-Dyarn.app.mapreduce.am.command-opts=-Xmx320m",
    "-Dmapreduce.map.memory.mb=512",
    "-Dmapreduce.map.java.opts=-Xmx320m",
    "-Dmapreduce.reduce.memory.mb=512",
    "-Dmapreduce.reduce.java.opts=-Xmx320m",
    "-Dmapreduce.task.io.sort.mb=64",
)


def _run_job(*arguments: str, timeout_s: float = 300) -> str:
    """Run a class that submits a job and waits for its end; return what it printed."""
    try:
        job = subprocess.run(
            [hadoop.HOME / "bin" / "hadoop", *arguments],
            env={"PATH": "/usr/bin:/bin", **hadoop_node.environment(), "HADOOP_ROOT_LOGGER": "INFO,console"},
            user=MAPRED_USER,
            group=MAPRED_USER,
            cwd=hadoop_node.DATA / MAPRED_USER,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise JobError(f"{arguments[0].rpartition('.')[2]}: no end after {timeout_s:.0f} s") from error
    if job.returncode != 0:
        lines = [line for line in job.stdout.splitlines() if re.search("(?i)error|exception|fail", line)]
        reason = lines[-1].strip() if lines else f"ended with status {job.returncode}"
        raise JobError(f"{arguments[0].rpartition('.')[2]}: {reason}")
    return job.stdout
