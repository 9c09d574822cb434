"""The settings of the ZeroMQ listener."""

from typing import Annotated

import zmq
from msgspec import Meta, field

from iot_gateway.interfaces import Options
from iot_gateway.shapes import Secret


class ZeroMqOptions(Options, frozen=True, kw_only=True):
    """Settings of the listener."""

    addresses: Annotated[list[str], Meta(min_length=1, max_length=16)] = field(default_factory=lambda: ["127.0.0.1"])
    """Where nodes reach it; IPv4 or IPv6."""
    pull_port: Annotated[int, Meta(ge=0, le=65535)] = 5560
    """For telemetry by PUSH; 0 for none."""
    router_port: Annotated[int, Meta(ge=0, le=65535)] = 5561
    """For DEALER; 0 for none."""
    secret_key: Secret
    """The gateway's own, in Z85; nodes are given its public key."""
    queue: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    """Messages of one node that may wait here; then the node's own queue fills."""

    def __post_init__(self) -> None:
        """Check the key, and that there is a port."""
        try:
            zmq.curve_public(self.secret_key.text.encode())
        except (ValueError, zmq.ZMQError) as error:
            raise ValueError("secret_key: no CURVE key in Z85, 40 characters") from error
        if not (self.pull_port or self.router_port):
            raise ValueError("pull_port or router_port must be another than 0")
