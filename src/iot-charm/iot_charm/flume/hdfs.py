"""The agent that writes events from an Avro source into HDFS.

A file is written under a name that readers pass over and gets its final name, ``FlumeData.<ms>``, when it is closed.
The name in use says which unit, and which run of its agent (systemd's invocation), writes it:
``_<unit>.<invocation>.FlumeData.<ms><suffix>.tmp``; see :mod:`iot_charm.flume.recovery`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iot_charm.flume.properties import Properties, file_channel, render
from iot_charm.interfaces.rabbitmq import BatchEncoding

FILE_PREFIX = "FlumeData"
IN_USE_SUFFIX = ".tmp"
ROOT = "/user/flume"
SMOKE_TEST = "smoke-test"
"""Events with this ``event_dir`` take a channel and a sink of their own, which closes each file at once."""

Serializer = Literal["text", "avro_event"]
Compression = Literal["", "gzip", "snappy"]


@dataclass(frozen=True)
class HdfsAgent:
    """What the agent is to do."""

    unit: str
    """The unit's name as a file name."""
    hdfs_uri: str
    source_port: int
    batch_encoding: BatchEncoding
    """Of the events' bodies."""
    roll_interval: int
    """Seconds after which a file is closed; 0: never for its age."""
    roll_count: int
    """Events (batches of readings) after which it is closed; 0: never for their number."""
    roll_size: int
    """Bytes of event bodies after which it is closed; 0: never for its size."""
    sink_serializer: Serializer
    sink_compression: Compression
    channel_capacity: int
    channel_transaction_capacity: int


def in_use_prefix(unit: str) -> str:
    """Return how the names of files that this unit's agent has open begin."""
    return f"_{unit}."


def suffix(agent: HdfsAgent) -> str:
    """Return the end of a finished file's name, as readers find its compression by it."""
    if agent.sink_compression:
        return {"gzip": ".gz", "snappy": ".snappy"}[agent.sink_compression]
    if agent.sink_serializer == "avro_event":
        return ".avro"
    return ".gz" if agent.batch_encoding == "gzip" else ""


def properties(agent: HdfsAgent, *, data: Path) -> str:
    """Write the agent's configuration.

    Args:
        agent: what it is to do.
        data: the folder for its channel.
    """
    sections: list[tuple[str, Properties]] = [
        ("", {"sources": "avro", "channels": "disk smoke", "sinks": "hdfs smoke"}),
        (
            "sources.avro",
            {
                "type": "avro",
                "channels": "disk smoke",
                "bind": "0.0.0.0",  # noqa: S104 - the relation decides by which address it is reached
                "port": agent.source_port,
                "selector.type": "multiplexing",
                "selector.header": "event_dir",
                f"selector.mapping.{SMOKE_TEST}": "smoke",
                "selector.default": "disk",
            },
        ),
        (
            "channels.disk",
            file_channel(
                data / "channel",
                capacity=agent.channel_capacity,
                transaction_capacity=agent.channel_transaction_capacity,
                # Less than a sender waits for an answer, or it would send again what was taken after all.
                keep_alive_s=3,
            ),
        ),
        ("sinks.hdfs", _sink(agent)),
        ("channels.smoke", {"type": "memory", "capacity": 100, "transactionCapacity": 100}),
        ("sinks.smoke", _smoke_sink(agent)),
    ]
    return render(sections)


def _sink(agent: HdfsAgent) -> Properties:
    sink: dict[str, str | int | bool] = {
        **_sink_basics(),
        "channel": "disk",
        "hdfs.path": f"{agent.hdfs_uri}{ROOT}/%{{event_dir}}/%Y-%m-%d",
        "hdfs.fileSuffix": suffix(agent),
        "hdfs.inUsePrefix": f"{in_use_prefix(agent.unit)}${{env:INVOCATION_ID}}.",
        "hdfs.rollInterval": agent.roll_interval,
        "hdfs.rollCount": agent.roll_count,
        "hdfs.rollSize": agent.roll_size,
        "hdfs.batchSize": min(100, agent.channel_transaction_capacity),
        "hdfs.fileType": "CompressedStream" if agent.sink_compression else "DataStream",
        "serializer": agent.sink_serializer,
    }
    if agent.sink_compression:
        sink["hdfs.codeC"] = agent.sink_compression
    if agent.sink_serializer == "text":
        # A batch ends with a newline of its own, and a newline between two gzip members would break the file.
        sink["serializer.appendNewline"] = False
    return sink


def _smoke_sink(agent: HdfsAgent) -> Properties:
    return {
        **_sink_basics(),
        "channel": "smoke",
        "hdfs.path": f"{agent.hdfs_uri}{ROOT}/{SMOKE_TEST}/{agent.unit}",
        "hdfs.inUsePrefix": "_",
        "hdfs.rollInterval": 0,
        "hdfs.rollSize": 0,
        "hdfs.rollCount": 1,
        "hdfs.idleTimeout": 1,
        "hdfs.batchSize": 1,
        "hdfs.fileType": "DataStream",
        "serializer": "text",
    }


def _sink_basics() -> dict[str, str | int | bool]:
    return {
        "type": "hdfs",
        "hdfs.filePrefix": FILE_PREFIX,
        "hdfs.inUseSuffix": IN_USE_SUFFIX,
        "hdfs.useLocalTimeStamp": True,
        # The first call loads Hadoop's client, which takes seconds on a busy machine.
        "hdfs.callTimeout": 60000,
        # Ten minutes for HDFS to come back; what is not closed and named by then is left to the recovery.
        "hdfs.closeTries": 30,
        "hdfs.retryInterval": 20,
        # Fewer copies than asked for, as while a DataNode is away, is no reason to begin another file.
        "hdfs.minBlockReplicas": 1,
    }
