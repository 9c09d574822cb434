"""What the charm knows: its options, its address and what the other ends of its relations published."""

from dataclasses import dataclass
from typing import Self

import ops
from pydantic import Field

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import bind_address, each_unit
from iot_charm.interfaces.dfs import DfsClient
from iot_charm.interfaces.dfs_slave import DataNode

CLIENTS, WORKERS = "namenode", "datanode"
"""Endpoints."""


class NameNodeConfig(CharmConfig):
    """Options."""

    dfs_replication: int = Field(ge=1, le=16)
    dfs_blocksize: int = Field(ge=1 << 20, le=1 << 30, multiple_of=512)
    namenode_heap: int = Field(ge=128, le=65536)


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: NameNodeConfig
    planned_units: int
    """Units that the application has or is about to have."""
    address: str
    """Where the NameNode listens."""
    wants_workers: bool
    """No DataNode's charm is related."""
    workers: int
    """DataNodes that have registered, as their charms say."""
    users: tuple[str, ...]
    """HDFS users that clients act as, sorted."""

    @property
    def replication(self) -> int:
        """Copies that a new file can have."""
        return max(1, min(self.config.dfs_replication, self.workers))

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        return cls(
            config=load_config(charm, NameNodeConfig),
            planned_units=charm.app.planned_units(),
            address=bind_address(charm, CLIENTS),
            wants_workers=not charm.model.relations[WORKERS],
            workers=len(list(each_unit(charm, WORKERS, DataNode))),
            users=tuple(sorted({client.user for _, _, client in each_unit(charm, CLIENTS, DfsClient)})),
        )
