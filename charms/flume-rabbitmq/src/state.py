"""What the charm knows: its options and what the other ends of its relations published."""

from dataclasses import dataclass
from typing import Literal, Self

import ops
from pydantic import Field, model_validator

from iot_charm.config import CharmConfig, load_config
from iot_charm.flume.rabbitmq import Broker, RabbitmqAgent, Target
from iot_charm.interfaces.databag import each_unit, is_related
from iot_charm.interfaces.flume_agent import FlumeSource
from iot_charm.interfaces.rabbitmq import PASSWORD, BatchEncoding, RabbitmqAnswer

AMQP, SINK = "amqp", "flume-sink"
"""Endpoints."""

VHOST = "iot"


class FlumeRabbitmqConfig(CharmConfig):
    """Options."""

    event_dir: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    queue: str = Field(max_length=255)
    broker_tls: Literal["if-offered", "required"]
    sources: int = Field(ge=1, le=32)
    batch_size: int = Field(ge=1, le=1000)
    channel_capacity: int = Field(ge=100, le=10_000_000)
    channel_transaction_capacity: int = Field(ge=1, le=100_000)
    heap: int = Field(ge=128, le=65536)

    @model_validator(mode="after")
    def _fits_the_channel(self) -> Self:
        if self.channel_transaction_capacity < self.batch_size:
            raise ValueError("channel_transaction_capacity must be at least batch_size")
        if self.channel_capacity < self.channel_transaction_capacity:
            raise ValueError("channel_capacity must be at least channel_transaction_capacity")
        return self


@dataclass(frozen=True)
class State:
    """The charm's state at one event."""

    config: FlumeRabbitmqConfig
    wants_amqp: bool
    """No broker is related."""
    broker: Broker | None
    """None while the broker's charm has not answered."""
    batch_encoding: BatchEncoding | None
    """None likewise."""
    wants_sink: bool
    """No agent to send to is related."""
    targets: tuple[Target, ...]
    """The agents that listen."""

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self:
        """Read the state.

        Raises:
            InvalidConfigError: an option is out of its range.
            InvalidDatabagError: the other end of a relation published something unfit.
        """
        config = load_config(charm, FlumeRabbitmqConfig)
        wants_amqp, wants_sink = not is_related(charm, AMQP), not is_related(charm, SINK)
        answers = [] if wants_amqp else [answer for _, _, answer in each_unit(charm, AMQP, RabbitmqAnswer)]
        sources = [] if wants_sink else [(unit, source) for _, unit, source in each_unit(charm, SINK, FlumeSource)]
        return cls(
            config=config,
            wants_amqp=wants_amqp,
            broker=_broker(charm, answers, config.queue),
            batch_encoding=answers[0].batch_encoding if answers else None,
            wants_sink=wants_sink,
            targets=tuple(Target(unit.name, source.host, source.port) for unit, source in sources),
        )

    @property
    def usable_broker(self) -> Broker | None:
        """The broker, unless TLS is required and it offers none: the agent then stays as it is."""
        return None if self.broker and self.config.broker_tls == "required" and not self.broker.ca else self.broker

    @property
    def agent(self) -> RabbitmqAgent:
        """What the agent is to do."""
        return RabbitmqAgent(
            sources=self.config.sources,
            batch_size=self.config.batch_size,
            event_dir=self.config.event_dir,
            channel_capacity=self.config.channel_capacity,
            channel_transaction_capacity=self.config.channel_transaction_capacity,
            targets=self.targets,
        )


def _broker(charm: ops.CharmBase, answers: list[RabbitmqAnswer], queue: str) -> Broker | None:
    if not answers:
        return None
    first = answers[0]
    password = first.password or _secret(charm, first.password_secret)
    if not password:
        return None
    ca = first.ca
    return Broker(
        addresses=tuple(
            # A unit of a cluster that offers no TLS yet has no port for it.
            (each.hostname, each.ssl_port if ca else each.port)
            for each in answers
            if each.ssl_port or not ca
        ),
        vhost=VHOST,
        username=charm.app.name,
        password=password,
        queue=queue or first.queue,
        ca=ca,
    )


def _secret(charm: ops.CharmBase, identifier: str) -> str:
    """Return the password in a secret; nothing while it is not granted."""
    if not identifier:
        return ""
    try:
        return charm.model.get_secret(id=identifier).get_content(refresh=True).get(PASSWORD, "")
    except (ops.SecretNotFoundError, ops.ModelError):
        return ""
