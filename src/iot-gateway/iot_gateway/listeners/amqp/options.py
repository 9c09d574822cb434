"""The settings of the AMQP listener."""

from typing import Annotated

from msgspec import Meta

from iot_gateway.amqp_connection import AmqpConnectionOptions

_WORD = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


class AmqpListenerOptions(AmqpConnectionOptions, frozen=True, kw_only=True):
    """Settings of the listener; what it names is declared by the broker's own operator, the relay declares nothing."""

    queue: Annotated[str, Meta(max_length=255, pattern=rf"^(.*\.)?{_WORD}\.{_WORD}\Z")]
    """Where the broker keeps what nodes publish, ``iot.nodes.<site>.<gateway>``: its last two words are how nodes'
    routing keys begin."""
    commands_exchange: Annotated[str, Meta(min_length=1, max_length=255)] = "iot.node-commands"
    """Takes commands to nodes, by ``<site>.<gateway>.<node>``."""
    commands_queue_prefix: Annotated[str, Meta(min_length=1, max_length=190)]
    """With a node's name behind it, the queue that the node takes its commands from:
    ``iot.node-commands.<username>.``"""
    prefetch: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Messages that may be here and not stored yet: at most so many come twice after a kill or a power cut."""

    @property
    def key(self) -> str:
        """``<site>.<gateway>``: what routing keys of the gateway's nodes begin with."""
        return ".".join(self.queue.split(".")[-2:])
