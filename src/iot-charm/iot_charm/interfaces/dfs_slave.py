"""``dfs-slave``: a DataNode joins a NameNode."""

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class DataNode(Databag):
    """Published by each worker's unit."""

    host: str


class NameNodeForWorkers(Databag):
    """Published by the NameNode's unit, once it accepts DataNodes."""

    host: str
    port: int = Field(ge=1, le=65535)
    replication: int = Field(ge=1)
    block_size: int = Field(ge=1048576)
