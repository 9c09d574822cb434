"""What the charm knows: its options, its address and what the other ends of its relations published."""

import re
from dataclasses import dataclass
from typing import Self

import ops
from pydantic import BaseModel, Field, field_validator

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import bind_address, first_unit, is_related
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from iot_charm.interfaces.spark import SparkService
from iot_charm.interfaces.zeppelin import Notebook

HDFS, YARN, SPARK, CLIENTS = "namenode", "resourcemanager", "spark", "client"
"""Endpoints."""

USER = "zeppelin"
"""On this machine and in HDFS."""


LEAST_MB, MOST_MB = 512, 1024 * 1024
"""Of a driver's heap; Spark refuses less than 450 MiB."""


class ZeppelinConfig(CharmConfig):
    """Options."""

    server_heap: int = Field(ge=256, le=65536)
    interpreter_heap: int = Field(ge=128, le=65536)
    driver_memory: str

    @field_validator("driver_memory")
    @classmethod
    def _check_memory(cls, value: str) -> str:
        match = re.fullmatch(r"(\d{1,7})([mg])", value)
        megabytes = int(match[1]) * (1024 if match[2] == "g" else 1) if match else 0
        if value and not LEAST_MB <= megabytes <= MOST_MB:
            raise ValueError("must be empty, or a number with m or g, 512m to 1024g")
        return value


TUTORIAL = "Zeppelin Flume/HDFS Tutorial"


class RunParams(BaseModel):
    """Parameters of the action run-notebook."""

    name: str = Field(default=TUTORIAL, min_length=1)
    node: str = ""
    sent: int = Field(default=0, ge=0)
    timeout: int = Field(default=900, ge=1, le=86400)

    @property
    def forms(self) -> dict[str, str]:
        """Values of the notebook's dynamic forms."""
        return {"node": self.node, "sent": str(self.sent)}


class ShowParams(BaseModel):
    """Parameters of the action show-notebook."""

    name: str = Field(default=TUTORIAL, min_length=1)


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: ZeppelinConfig
    address: str
    """Where the server listens, and where executors reach a driver."""
    missing: tuple[str, ...]
    """Required endpoints without a relation."""
    namenode: NameNode | None
    """None while HDFS can't be used, or has no home for our user yet."""
    resourcemanager: ResourceManager | None
    """None while YARN can't be used."""
    spark: SparkService | None
    """None while no Spark application can be submitted."""
    notebooks: tuple[Notebook, ...]
    """What related charms brought."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        missing = tuple(endpoint for endpoint in (HDFS, YARN, SPARK) if not is_related(charm, endpoint))
        namenode = first_unit(charm, HDFS, NameNode) if HDFS not in missing else None
        return cls(
            config=load_config(charm, ZeppelinConfig),
            address=bind_address(charm, CLIENTS),
            missing=missing,
            namenode=namenode if namenode and namenode.datanodes and USER in namenode.users else None,
            resourcemanager=first_unit(charm, YARN, ResourceManager) if YARN not in missing else None,
            spark=first_unit(charm, SPARK, SparkService) if SPARK not in missing else None,
            notebooks=tuple(_notebooks(charm)),
        )


def _notebooks(charm: ops.CharmBase) -> list[Notebook]:
    found: list[Notebook] = []
    for relation in sorted(charm.model.relations[CLIENTS], key=lambda relation: relation.id):
        notebook = Notebook.read(relation, relation.app) if relation.active else None
        if notebook is not None:
            found.append(notebook)
    return found
