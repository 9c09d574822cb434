"""The settings of the ZeroMQ listener."""

from typing import Self

import zmq
from pydantic import Field, SecretStr, field_validator, model_validator

from iot_gateway.interfaces import Options


class ZeroMqOptions(Options):
    """Settings of the listener."""

    addresses: list[str] = Field(default=["127.0.0.1"], min_length=1, max_length=16)
    """Where nodes reach it; IPv4 or IPv6."""
    pull_port: int = Field(default=5560, ge=0, le=65535)
    """For telemetry by PUSH; 0 for none."""
    router_port: int = Field(default=5561, ge=0, le=65535)
    """For DEALER; 0 for none."""
    secret_key: SecretStr
    """The gateway's own, in Z85; nodes are given its public key."""
    queue: int = Field(default=1000, ge=1, le=100_000)
    """Messages of one node that may wait here; then the node's own queue fills."""

    @field_validator("secret_key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        try:
            zmq.curve_public(value.get_secret_value().encode())
        except (ValueError, zmq.ZMQError) as error:
            raise ValueError("no CURVE key in Z85, 40 characters") from error
        return value

    @model_validator(mode="after")
    def _has_a_port(self) -> Self:
        if not (self.pull_port or self.router_port):
            raise ValueError("pull_port or router_port must be another than 0")
        return self
