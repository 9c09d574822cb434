"""Configuration folders of Hadoop."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from iot_charm.files import ensure_directory, ensure_file, remove

HOME = Path("/opt/hadoop")
"""Where the distribution is unpacked; ``bin/`` holds the commands, ``lib/`` the jars."""

Properties = Mapping[str, str | int | bool]


class ResourceManagerAddresses(Protocol):
    """What a member knows of YARN; ``iot_charm.interfaces.mapred_slave.ResourceManagerForWorkers`` is one."""

    @property
    def host(self) -> str:
        """Address of the ResourceManager."""
        ...

    @property
    def port(self) -> int:
        """Clients submit applications here."""
        ...

    @property
    def scheduler_port(self) -> int:
        """Application masters ask for containers here."""
        ...

    @property
    def tracker_port(self) -> int:
        """NodeManagers report here."""
        ...

    @property
    def web_port(self) -> int:
        """The ResourceManager's page."""
        ...


class YarnAddresses(ResourceManagerAddresses, Protocol):
    """What a client knows of YARN; ``iot_charm.interfaces.mapred.ResourceManager`` is one.

    The job history server is on the ResourceManager's host.
    """

    @property
    def history_port(self) -> int:
        """The job history server."""
        ...

    @property
    def history_web_port(self) -> int:
        """The job history server's page."""
        ...


def site_xml(properties: Properties) -> str:
    """Write the text of a ``*-site.xml``, its properties in the order of their names."""
    root = ET.Element("configuration")
    for name, value in sorted(properties.items()):
        element = ET.SubElement(root, "property")
        ET.SubElement(element, "name").text = name
        ET.SubElement(element, "value").text = str(value).lower() if isinstance(value, bool) else str(value)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_conf(directory: Path, sites: Mapping[str, Properties], *, owner: str = "root") -> bool:
    """Make ``directory`` a configuration folder.

    Args:
        directory: the folder.
        sites: name of a file without its ``-site.xml`` -> properties; such a file without any is removed.
        owner: of the folder and the files.

    Returns:
        Whether anything changed.
    """
    changed = ensure_directory(directory, owner=owner)
    for name, properties in sites.items():
        path = directory / f"{name}-site.xml"
        changed |= ensure_file(path, site_xml(properties), owner=owner) if properties else remove(path)
    return changed


def core_properties(namenode_host: str, namenode_port: int) -> dict[str, str | int | bool]:
    """Return what every process of the cluster has in its ``core-site.xml``."""
    return {
        "fs.defaultFS": f"hdfs://{namenode_host}:{namenode_port}",
        "hadoop.security.authentication": "simple",
        # A NameNode or ResourceManager that is gone is reported after seconds, not after 45 tries of 20 s each.
        "ipc.client.connect.max.retries.on.timeouts": 3,
        "ipc.client.connect.timeout": 10000,
    }


def hdfs_client_properties(replication: int, block_size: int) -> dict[str, str | int | bool]:
    """Return what a client of HDFS has in its ``hdfs-site.xml``."""
    return {
        "dfs.replication": replication,
        "dfs.blocksize": block_size,
        # On a handful of DataNodes there is often none to replace a failed one: go on writing with those left.
        "dfs.client.block.write.replace-datanode-on-failure.best-effort": True,
    }


def yarn_client_properties(addresses: ResourceManagerAddresses) -> dict[str, str | int | bool]:
    """Return what a client of YARN has in its ``yarn-site.xml``."""
    host = addresses.host
    return {
        "yarn.resourcemanager.hostname": host,
        "yarn.resourcemanager.address": f"{host}:{addresses.port}",
        "yarn.resourcemanager.scheduler.address": f"{host}:{addresses.scheduler_port}",
        "yarn.resourcemanager.resource-tracker.address": f"{host}:{addresses.tracker_port}",
        "yarn.resourcemanager.webapp.address": f"{host}:{addresses.web_port}",
        "yarn.log-aggregation-enable": True,
        "yarn.application.classpath": f"$HADOOP_CONF_DIR,{HOME}/etc,{HOME}/lib/*",
        # Without it a command hangs for 15 minutes while the ResourceManager is down.
        "yarn.resourcemanager.connect.max-wait.ms": 60000,
        "yarn.resourcemanager.connect.retry-interval.ms": 5000,
    }


def mapreduce_client_properties(addresses: YarnAddresses) -> dict[str, str | int | bool]:
    """Return what a client of MapReduce has in its ``mapred-site.xml``."""
    return {
        "mapreduce.framework.name": "yarn",
        "mapreduce.jobhistory.address": f"{addresses.host}:{addresses.history_port}",
        "mapreduce.jobhistory.webapp.address": f"{addresses.host}:{addresses.history_web_port}",
        "mapreduce.jobhistory.intermediate-done-dir": "/user/mapred/history/intermediate",
        "mapreduce.jobhistory.done-dir": "/user/mapred/history/done",
        "mapreduce.application.classpath": f"{HOME}/etc,{HOME}/lib/*",
        "yarn.app.mapreduce.am.staging-dir": "/user",
    }


def write_client_conf(
    directory: Path,
    *,
    namenode_host: str,
    namenode_port: int,
    replication: int,
    block_size: int,
    resourcemanager: YarnAddresses | None = None,
    extra_core: Properties | None = None,
    extra_hdfs: Properties | None = None,
    extra_yarn: Properties | None = None,
    extra_mapred: Properties | None = None,
    owner: str = "root",
) -> bool:
    """Make ``directory`` the configuration folder of a client of HDFS and, with a ResourceManager, of YARN.

    Args:
        directory: the folder, fit for HADOOP_CONF_DIR.
        namenode_host: as the relation gave it.
        namenode_port: of its RPC.
        replication: copies of a new file's blocks.
        block_size: bytes.
        resourcemanager: as the relation gave it; without one the files for YARN are removed.
        extra_core: properties that win over the ones written here; likewise the next three.
        extra_hdfs: for ``hdfs-site.xml``.
        extra_yarn: for ``yarn-site.xml``, if there is a ResourceManager.
        extra_mapred: for ``mapred-site.xml``, likewise.
        owner: of the folder and the files.

    Returns:
        Whether anything changed.
    """
    rm = resourcemanager
    return write_conf(
        directory,
        {
            "core": {**core_properties(namenode_host, namenode_port), **(extra_core or {})},
            "hdfs": {**hdfs_client_properties(replication, block_size), **(extra_hdfs or {})},
            "yarn": {**yarn_client_properties(rm), **(extra_yarn or {})} if rm else {},
            "mapred": {**mapreduce_client_properties(rm), **(extra_mapred or {})} if rm else {},
        },
        owner=owner,
    )
