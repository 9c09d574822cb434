"""``dfs``: a client of HDFS and the NameNode that serves it."""

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class DfsClient(Databag):
    """Published by each unit of a client."""

    user: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    """The HDFS user it acts as; the NameNode's charm makes ``/user/<user>``, owned by it."""


class NameNode(Databag):
    """Published by the NameNode's unit, once HDFS answers."""

    host: str
    port: int = Field(ge=1, le=65535)
    web_port: int = Field(ge=1, le=65535)
    """WebHDFS and the web page."""
    datanodes: int = Field(ge=0)
    """DataNodes that are live."""
    replication: int = Field(ge=1)
    """Copies that a new file should have: the configured number, at most one a DataNode."""
    block_size: int = Field(ge=1048576)
    """Bytes in a block."""
    users: list[str] = Field(default_factory=list)
    """Users whose home directories exist."""

    @property
    def uri(self) -> str:
        """The file system's URI, ``hdfs://host:port``."""
        return f"hdfs://{self.host}:{self.port}"
