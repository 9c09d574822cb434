"""What the charm knows: its options, its address and what the other ends of its relations published."""

import shlex
from dataclasses import dataclass
from typing import Literal, Self

import ops
from pydantic import BaseModel, Field, field_validator

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import bind_address, first_unit, is_related
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.mapred import ResourceManager
from memory import check

HDFS, YARN, CLIENTS = "namenode", "resourcemanager", "client"
"""Endpoints."""

USER = "spark"
"""On this machine and in HDFS."""


class SparkConfig(CharmConfig):
    """Options."""

    spark_execution_mode: Literal["local", "yarn-client", "yarn-cluster"]
    driver_memory: str
    executor_memory: str
    executor_instances: int = Field(ge=1, le=1000)
    history_heap: int = Field(ge=128, le=65536)

    @field_validator("driver_memory", "executor_memory")
    @classmethod
    def _check_memory(cls, value: str) -> str:
        return check(value)

    @property
    def on_yarn(self) -> bool:
        """Whether applications run on YARN."""
        return self.spark_execution_mode != "local"


class PiParams(BaseModel):
    """Parameters of the action sparkpi."""

    partitions: int = Field(default=10, ge=1, le=100_000)


class SubmitParams(BaseModel):
    """Parameters of the action spark-submit."""

    job: str = Field(min_length=1)
    job_args: str = ""
    options: str = ""
    timeout: int = Field(default=3600, ge=1, le=604_800)

    def words(self) -> list[str]:
        """Return the words of spark-submit.

        Raises:
            ValueError: a quotation has no end.
        """
        return [*shlex.split(self.options), self.job, *shlex.split(self.job_args)]


class ListParams(BaseModel):
    """Parameters of the action list-jobs."""

    limit: int = Field(default=20, ge=1, le=1000)


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: SparkConfig
    address: str
    """Where others reach this unit."""
    wants_hdfs: bool
    """No NameNode is related."""
    namenode: NameNode | None
    """None while HDFS can't be used, or has no home for our user yet."""
    wants_yarn: bool
    """Applications are to run on YARN, and no ResourceManager is related."""
    resourcemanager: ResourceManager | None
    """None while YARN can't be used."""

    @property
    def is_complete(self) -> bool:
        """Whether all is known that applications need."""
        return self.namenode is not None and (self.resourcemanager is not None or not self.config.on_yarn)

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        config = load_config(charm, SparkConfig)
        namenode = first_unit(charm, HDFS, NameNode) if is_related(charm, HDFS) else None
        return cls(
            config=config,
            address=bind_address(charm, CLIENTS),
            wants_hdfs=not is_related(charm, HDFS),
            namenode=namenode if namenode and namenode.datanodes and USER in namenode.users else None,
            wants_yarn=config.on_yarn and not is_related(charm, YARN),
            resourcemanager=first_unit(charm, YARN, ResourceManager) if is_related(charm, YARN) else None,
        )
