"""``rabbitmq``: a user and a virtual host on a RabbitMQ broker.

The fields ``username``, ``vhost``, ``hostname`` and ``password`` are those of the public ``rabbitmq-server`` charm,
plain strings in the unit databags, so that it can stand in for ours. Ours never puts the password into the databag:
it answers ``password-secret``, the identifier of a secret with the key PASSWORD, and adds the names of the
topology that it declared.
"""

from typing import Annotated, Literal

from pydantic import Field

from iot_charm.interfaces.databag import PlainDatabag

PASSWORD = "password"
"""The key of the secret that holds the user's password."""

BatchEncoding = Literal["gzip", "identity"]
"""How a batch of readings travels: as one gzip member (RFC 1952) or as it is. One setting of the whole chain."""


class RabbitmqRequest(PlainDatabag):
    """Published by each unit of a requirer."""

    username: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    vhost: str = Field(min_length=1, max_length=127)
    access: Literal["publish", "consume", "full"] = "full"
    """What the user may do: publish to the exchanges, consume from the queues, or (as a charm that does not say,
    like a public one) configure, read and write everything in its virtual host."""


class RabbitmqAnswer(PlainDatabag):
    """Published by each unit of the broker, once the user exists and its permissions are set."""

    hostname: str
    port: int = Field(default=5672, ge=1, le=65535)
    password: str = ""
    """Only from a broker that has no secrets to give; never from ours."""
    password_secret: Annotated[str, Field(alias="password-secret")] = ""
    exchange: str = "iot.telemetry"
    """Topic exchange for batches of readings; routing key ``<site>.<gateway>``."""
    queue: str = "iot.telemetry"
    """Quorum queue bound to the exchange, drained by the batch layer."""
    stream: str = "iot.telemetry.stream"
    """Stream bound to the exchange, read by the speed layer."""
    dead_letter_exchange: Annotated[str, Field(alias="dead-letter-exchange")] = "iot.dead-letters"
    """Fanout exchange for payloads that could not be read, and for what a queue rejects."""
    dead_letter_queue: Annotated[str, Field(alias="dead-letter-queue")] = "iot.dead-letters"
    batch_encoding: Annotated[BatchEncoding, Field(alias="batch-encoding")] = "gzip"
