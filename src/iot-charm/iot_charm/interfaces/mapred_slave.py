"""``mapred-slave``: a NodeManager joins a ResourceManager."""

from pydantic import Field

from iot_charm.interfaces.databag import Databag


class NodeManager(Databag):
    """Published by each worker's unit, once its NodeManager has registered with the ResourceManager."""

    host: str
    memory_mb: int = Field(ge=512)
    """Memory that containers may use, MiB."""
    vcores: int = Field(ge=1)


class ResourceManagerForWorkers(Databag):
    """Published by the ResourceManager's unit, once it accepts NodeManagers."""

    host: str
    port: int = Field(ge=1, le=65535)
    scheduler_port: int = Field(ge=1, le=65535)
    tracker_port: int = Field(ge=1, le=65535)
    web_port: int = Field(ge=1, le=65535)
