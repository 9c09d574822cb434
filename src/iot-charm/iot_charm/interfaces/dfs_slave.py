"""``dfs-slave``: a DataNode joins a NameNode."""

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class DataNode(Databag):
    """Published by each worker's unit, once its DataNode has registered with the NameNode."""

    host: str


class NameNodeForWorkers(Databag):
    """Published by the NameNode's unit, once it accepts DataNodes."""

    host: str
    port: int = Field(ge=1, le=65535)
    replication: int = Field(ge=1)
    block_size: int = Field(ge=1048576)
    cluster_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """The file system's identity: blocks of one are never offered to another."""
