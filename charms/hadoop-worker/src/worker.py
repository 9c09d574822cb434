"""The DataNode and the NodeManager on this machine."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from iot_charm import hadoop, hadoop_node, services
from iot_charm.files import ensure_directory, ensure_file

DATANODE, NODEMANAGER = "hadoop-datanode", "hadoop-nodemanager"
"""Services, and the users that run them."""
HDFS_USER, YARN_USER = "hdfs", "yarn"

DATANODE_PORT, DATANODE_WEB_PORT, DATANODE_IPC_PORT = 9866, 9864, 9867
NODEMANAGER_PORT, LOCALIZER_PORT, NODEMANAGER_WEB_PORT, SHUFFLE_PORT = 8041, 8040, 8042, 13562

HOSTS = Path("/etc/hosts")

DATANODE_PORTS = (DATANODE_PORT, DATANODE_WEB_PORT, DATANODE_IPC_PORT)
NODEMANAGER_PORTS = (NODEMANAGER_PORT, LOCALIZER_PORT, NODEMANAGER_WEB_PORT, SHUFFLE_PORT)


@dataclass(frozen=True)
class FileSystem:
    """The HDFS to join."""

    host: str
    """Of the NameNode."""
    port: int
    replication: int
    """Copies of a new file."""
    block_size: int
    cluster_id: str
    """Its identity."""


@dataclass(frozen=True)
class Settings:
    """What the daemons are configured by."""

    address: str
    memory_mb: int
    """For containers."""
    vcores: int
    datanode_heap_mb: int
    nodemanager_heap_mb: int
    reserved_mb: int
    """Disk that HDFS leaves free."""


def install(archive: Path) -> None:
    """Install the software."""
    hadoop_node.ensure_software(archive, [HDFS_USER, YARN_USER])


def ensure_datanode(settings: Settings, file_system: FileSystem) -> bool:
    """Have a DataNode running that joins ``file_system``.

    The blocks of each file system have a directory of their own, so that this machine can leave one and join another.

    Returns:
        Whether it was started or restarted.
    """
    data = hadoop_node.DATA / HDFS_USER / "data" / file_system.cluster_id
    for directory in (data.parent, data):
        ensure_directory(directory, owner=HDFS_USER, mode=0o700)
    address = settings.address
    core = hadoop.core_properties(file_system.host, file_system.port)
    hdfs: hadoop.Properties = {
        "dfs.datanode.data.dir": data.as_uri(),
        # Known by its address, so that clients that WebHDFS sends here need no name server.
        "dfs.datanode.hostname": address,
        "dfs.datanode.address": f"{address}:{DATANODE_PORT}",
        "dfs.datanode.http.address": f"{address}:{DATANODE_WEB_PORT}",
        "dfs.datanode.ipc.address": f"{address}:{DATANODE_IPC_PORT}",
        "dfs.datanode.du.reserved": settings.reserved_mb << 20,
    }
    client = hadoop.hdfs_client_properties(file_system.replication, file_system.block_size)
    hadoop.write_conf(hadoop_node.CONF, {"core": core, "hdfs": {**hdfs, **client}})
    return hadoop_node.ensure_daemon(
        DATANODE,
        ["hdfs", "datanode"],
        user=HDFS_USER,
        heap_mb=settings.datanode_heap_mb,
        # Copies and block size follow the number of workers: no reason to interrupt files that are being written.
        sites={"core": core, "hdfs": hdfs},
    )


def ensure_nodemanager(
    settings: Settings, file_system: FileSystem, resourcemanager: hadoop.ResourceManagerAddresses
) -> bool:
    """Have a NodeManager running that joins ``resourcemanager`` and collects the logs of containers in HDFS.

    Returns:
        Whether it was started or restarted.
    """
    home = hadoop_node.DATA / YARN_USER
    local, logs = home / "local", home / "logs"
    for directory in (local, logs):
        ensure_directory(directory, owner=YARN_USER)
    address = settings.address
    core = hadoop.core_properties(file_system.host, file_system.port)
    yarn: hadoop.Properties = {
        **hadoop.yarn_client_properties(resourcemanager),
        "yarn.nodemanager.hostname": address,
        "yarn.nodemanager.address": f"{address}:{NODEMANAGER_PORT}",
        "yarn.nodemanager.localizer.address": f"{address}:{LOCALIZER_PORT}",
        "yarn.nodemanager.webapp.address": f"{address}:{NODEMANAGER_WEB_PORT}",
        "yarn.nodemanager.resource.memory-mb": settings.memory_mb,
        "yarn.nodemanager.resource.cpu-vcores": settings.vcores,
        "yarn.nodemanager.local-dirs": str(local),
        "yarn.nodemanager.log-dirs": str(logs),
        # A JVM reserves far more address space than it uses: what counts is memory.
        "yarn.nodemanager.vmem-check-enabled": False,
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "98.0",
        "yarn.nodemanager.disk-health-checker.min-free-space-per-disk-mb": 256,
        # Outlasts a restart of the ResourceManager by far; then it ends, and systemd starts it again.
        "yarn.nodemanager.resourcemanager.connect.max-wait.ms": 900000,
        # When it stops, how long it may try to take leave of a ResourceManager that is gone.
        "hadoop.service.shutdown.timeout": "10s",
        **_shuffle_properties(),
    }
    hadoop.write_conf(hadoop_node.CONF, {"yarn": yarn})
    hosts = hadoop_node.CONF / "nodemanager-hosts"
    ensure_file(hosts, _hosts(address))
    return hadoop_node.ensure_daemon(
        NODEMANAGER,
        ["yarn", "nodemanager"],
        user=YARN_USER,
        heap_mb=settings.nodemanager_heap_mb,
        sites={"core": core, "yarn": yarn},
        options=[f"-Djdk.net.hosts.file={hosts}"],
    )


def _hosts(address: str) -> str:
    """Write the hosts file that stands in for every name service of the NodeManager.

    A NodeManager is known by the name that its address has, whatever it is configured to. Often (systemd-resolved
    answers so) that is a name nobody else can resolve. Here its address has no name, so it is known by its address.
    """
    kept = [line for line in HOSTS.read_text().splitlines() if line.split("#")[0].split()[:1] != [address]]
    return "\n".join([*kept, f"127.0.1.1 {socket.gethostname()}"]) + "\n"


def _shuffle_properties() -> hadoop.Properties:
    """Serve MapReduce's shuffle where the distribution has it."""
    if not any((hadoop.HOME / "lib").glob("hadoop-mapreduce-client-shuffle-*.jar")):
        return {}
    return {
        "yarn.nodemanager.aux-services": "mapreduce_shuffle",
        "yarn.nodemanager.aux-services.mapreduce_shuffle.class": "org.apache.hadoop.mapred.ShuffleHandler",
        "mapreduce.shuffle.port": SHUFFLE_PORT,
    }


def stop_datanode() -> None:
    """Stop the DataNode and remove its service; the blocks stay."""
    services.disable(DATANODE)


def stop_nodemanager() -> None:
    """Stop the NodeManager, its containers with it, and remove its service."""
    services.disable(NODEMANAGER)


def wait_for_datanode(address: str, timeout_s: float) -> bool:
    """Wait until the DataNode has registered with its NameNode."""
    return services.wait_until(lambda: has_datanode_registered(address), timeout_s)


def has_datanode_registered(address: str) -> bool:
    """Tell whether the DataNode takes part in its file system, as it says itself."""
    info = hadoop_node.get_bean(address, DATANODE_WEB_PORT, "Hadoop:service=DataNode,name=DataNodeInfo")
    if info is None:
        return False
    actors = json.loads(info.get("BPServiceActorInfo") or "[]")
    return any(actor["ActorState"] == "RUNNING" and actor["BlockPoolID"] for actor in actors)


def wait_for_nodemanager(address: str, resourcemanager: hadoop.ResourceManagerAddresses, timeout_s: float) -> bool:
    """Wait until the ResourceManager counts this NodeManager among those that run."""
    return services.wait_until(lambda: has_nodemanager_registered(address, resourcemanager), timeout_s)


def has_nodemanager_registered(address: str, resourcemanager: hadoop.ResourceManagerAddresses) -> bool:
    """Tell whether the NodeManager takes part in its cluster, as the ResourceManager says."""
    url = f"http://{resourcemanager.host}:{resourcemanager.web_port}/ws/v1/cluster/nodes/{address}:{NODEMANAGER_PORT}"
    answer = hadoop_node.get_json(url)
    return answer is not None and answer["node"]["state"] == "RUNNING"
