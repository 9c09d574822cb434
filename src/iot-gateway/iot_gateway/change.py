"""A change of the configuration, with all that can fail about it done beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass

from iot_gateway.config import RelayConfig
from iot_gateway.interfaces import Listener, Options, Uplink
from iot_gateway.nodes import Node
from iot_gateway.plain_topics import PlainTopics


@dataclass(frozen=True, slots=True)
class Change:
    """What a running relay goes over to; nothing of it is opened yet."""

    config: RelayConfig
    nodes: Mapping[str, Node]
    plain: PlainTopics
    outboxes: tuple[Options, Options]
    """The settings of the lanes' outboxes."""
    settings: Mapping[str, Options]
    """Of each listener."""
    listeners: dict[str, Listener]
    """Those that are not there yet, and, where settings changed, those for the place of one that can't follow them."""
    uplink: Uplink | None
    """None if the present one stays."""
