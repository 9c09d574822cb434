"""What the charm knows: its options, its address and what the other ends of its relations published."""

from dataclasses import dataclass
from typing import Self

import ops
from pydantic import Field

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import bind_address, first_unit, is_related
from iot_charm.interfaces.dfs import NameNode

HDFS, CLIENTS, WORKERS = "namenode", "resourcemanager", "nodemanager"
"""Endpoints."""


class ResourceManagerConfig(CharmConfig):
    """Options."""

    resourcemanager_heap: int = Field(ge=128, le=65536)
    historyserver_heap: int = Field(ge=128, le=65536)


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: ResourceManagerConfig
    planned_units: int
    """Units that the application has or is about to have."""
    address: str
    """Where the daemons listen."""
    wants_hdfs: bool
    """No NameNode is related."""
    namenode: NameNode | None
    """None while HDFS can't be used."""
    wants_workers: bool
    """No NodeManager's charm is related."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        wants_hdfs = not is_related(charm, HDFS)
        return cls(
            config=load_config(charm, ResourceManagerConfig),
            planned_units=charm.app.planned_units(),
            address=bind_address(charm, CLIENTS),
            wants_hdfs=wants_hdfs,
            namenode=None if wants_hdfs else first_unit(charm, HDFS, NameNode),
            wants_workers=not charm.model.relations[WORKERS],
        )
