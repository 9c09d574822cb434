"""What the charm knows: its options, its address and what the other ends of its relations published."""

from dataclasses import dataclass
from typing import Self

import ops
from pydantic import Field

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import bind_address, first_unit, is_related
from iot_charm.interfaces.dfs_slave import NameNodeForWorkers
from iot_charm.interfaces.mapred_slave import ResourceManagerForWorkers

HDFS, YARN = "namenode", "resourcemanager"
"""Endpoints."""


class WorkerConfig(CharmConfig):
    """Options."""

    nodemanager_memory: int = Field(ge=1024, le=1 << 20)
    nodemanager_vcores: int = Field(ge=1, le=512)
    datanode_heap: int = Field(ge=128, le=65536)
    nodemanager_heap: int = Field(ge=128, le=65536)
    datanode_reserved: int = Field(ge=0, le=1 << 20)


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: WorkerConfig
    address: str
    """Where the daemons listen."""
    wants_hdfs: bool
    """No NameNode is related."""
    namenode: NameNodeForWorkers | None
    """None while it does not accept DataNodes."""
    wants_yarn: bool
    """No ResourceManager is related."""
    resourcemanager: ResourceManagerForWorkers | None
    """None while it does not accept NodeManagers."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        return cls(
            config=load_config(charm, WorkerConfig),
            address=bind_address(charm, HDFS),
            wants_hdfs=not is_related(charm, HDFS),
            namenode=first_unit(charm, HDFS, NameNodeForWorkers) if is_related(charm, HDFS) else None,
            wants_yarn=not is_related(charm, YARN),
            resourcemanager=first_unit(charm, YARN, ResourceManagerForWorkers) if is_related(charm, YARN) else None,
        )
