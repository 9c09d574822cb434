"""What the charm knows: its options and what the other ends of its relations published."""

from dataclasses import dataclass
from typing import Literal, Self

import ops
from pydantic import BaseModel, Field, model_validator

from iot_charm.config import CharmConfig, load_config
from iot_charm.flume.hdfs import Compression, HdfsAgent, Serializer
from iot_charm.interfaces.databag import each_unit, first_unit, is_related
from iot_charm.interfaces.dfs import NameNode
from iot_charm.interfaces.flume_agent import FlumeSink
from iot_charm.interfaces.rabbitmq import BatchEncoding

SOURCE, NAMENODE = "flume-source", "namenode"
"""Endpoints."""


class FlumeHdfsConfig(CharmConfig):
    """Options."""

    roll_interval: int = Field(ge=0, le=86400)
    roll_count: int = Field(ge=0, le=1_000_000_000)
    roll_size: int = Field(ge=0, le=1 << 40)
    sink_compression: Compression
    sink_serializer: Serializer
    dfs_replication: int = Field(ge=1, le=512)
    source_port: int = Field(ge=1024, le=65535)
    protocol: Literal["avro"]
    channel_capacity: int = Field(ge=1000, le=10_000_000)
    channel_transaction_capacity: int = Field(ge=1000, le=100_000)
    heap: int = Field(ge=128, le=65536)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.channel_capacity < self.channel_transaction_capacity:
            raise ValueError("channel_capacity must be at least channel_transaction_capacity")
        if self.sink_compression and self.sink_serializer != "text":
            raise ValueError("sink_compression needs sink_serializer text")
        return self

    @property
    def open_for_s(self) -> int:
        """Longest time that the agent keeps a file open, with all its tries to close it: a generous bound."""
        return self.roll_interval + 1200 if self.roll_interval else 86400


class VerifyIngestion(BaseModel):
    """Parameters of the action."""

    node: str = ""
    sent: int = -1
    timeout: int = 120


@dataclass(frozen=True)
class Sender:
    """An agent that sends events here."""

    unit: str
    event_dir: str
    batch_encoding: BatchEncoding


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    unit: str
    """The unit's name as a file name."""
    config: FlumeHdfsConfig
    wants_hdfs: bool
    """No NameNode is related."""
    namenode: NameNode | None
    """None while HDFS can't take files of ours."""
    senders: tuple[Sender, ...]

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        wants_hdfs = not is_related(charm, NAMENODE)
        return cls(
            unit=charm.unit.name.replace("/", "-"),
            config=load_config(charm, FlumeHdfsConfig),
            wants_hdfs=wants_hdfs,
            namenode=None if wants_hdfs else _namenode(charm),
            senders=tuple(
                Sender(unit.name, sink.event_dir, sink.batch_encoding)
                for relation, unit, sink in each_unit(charm, SOURCE, FlumeSink)
                if relation.active
            ),
        )

    @property
    def conflict(self) -> str:
        """What keeps the senders and the options from working together; empty if nothing does."""
        named = {sender.batch_encoding: sender.unit for sender in reversed(self.senders)}
        if len(named) > 1:
            both = " and ".join(f"{unit} ({encoding})" for encoding, unit in sorted(named.items()))
            return f"Senders differ in batch_encoding: {both}; set one batch_encoding for both chains"
        if self.config.sink_compression and self.batch_encoding == "gzip":
            return (
                f"sink_compression={self.config.sink_compression!r}: batches are gzip already; "
                "reset it, or set batch_encoding=identity on rabbitmq"
            )
        return ""

    @property
    def batch_encoding(self) -> BatchEncoding:
        """The senders' encoding."""
        return self.senders[0].batch_encoding if self.senders else "identity"

    @property
    def event_dirs(self) -> tuple[str, ...]:
        """Directories that the senders' events go to."""
        return tuple(sorted({sender.event_dir for sender in self.senders}))

    @property
    def replication(self) -> int:
        """Copies that a file can have."""
        return max(1, min(self.config.dfs_replication, self.namenode.datanodes if self.namenode else 1))

    def agent(self, namenode: NameNode) -> HdfsAgent:
        """Say what the agent is to do."""
        config = self.config
        return HdfsAgent(
            unit=self.unit,
            hdfs_uri=namenode.uri,
            source_port=config.source_port,
            batch_encoding=self.batch_encoding,
            roll_interval=config.roll_interval,
            roll_count=config.roll_count,
            roll_size=config.roll_size,
            sink_serializer=config.sink_serializer,
            sink_compression=config.sink_compression,
            channel_capacity=config.channel_capacity,
            channel_transaction_capacity=config.channel_transaction_capacity,
        )


def _namenode(charm: ops.CharmBase) -> NameNode | None:
    found = first_unit(charm, NAMENODE, NameNode)
    return found if found and found.datanodes and "flume" in found.users else None
