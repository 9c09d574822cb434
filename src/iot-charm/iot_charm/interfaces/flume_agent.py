"""``flume-agent``: one Flume agent's sink sends events to another's source.

The provider (endpoint ``flume-source``) is the agent that receives, the requirer (endpoint ``flume-sink``) the one
that sends.
"""

from typing import Literal

from pydantic import Field

from iot_charm.interfaces.databag import Databag
from iot_charm.interfaces.rabbitmq import BatchEncoding


class FlumeSource(Databag):
    """Published by each unit of the receiving agent, once its source listens."""

    host: str
    port: int = Field(ge=1, le=65535)
    protocol: Literal["avro"] = "avro"


class FlumeSink(Databag):
    """Published by each unit of the sending agent."""

    event_dir: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Directory under ``/user/flume`` that its events belong to; every event carries it as header ``event_dir``."""
    batch_encoding: BatchEncoding
    """What the bodies of its events are encoded with."""
