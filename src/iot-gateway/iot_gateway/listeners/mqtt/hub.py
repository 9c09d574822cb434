"""What the connections of the listener share."""

from dataclasses import dataclass
from typing import Protocol

from iot_gateway.desk.reports import Reports
from iot_gateway.interfaces import Intake
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.exactly_once import ExactlyOnce, Session
from iot_gateway.listeners.mqtt.last_values import LastValues
from iot_gateway.listeners.mqtt.ledger import Ledger
from iot_gateway.listeners.mqtt.options import MqttOptions
from iot_gateway.nodes import Nodes

PROTOCOL = "mqtt"
"""Under which nodes are let in."""


class Connection(Protocol):
    """A client's connection, as the listener sees it."""

    node: str
    """Empty until it was let in."""

    def check(self, now: float) -> None:
        """Give up on a client that is silent or does not read."""
        ...

    def quiesce(self) -> None:
        """Read no more, for good."""
        ...

    def pause_intake(self, paused: bool) -> None:
        """Take no payloads, or take them again: the disk does not keep up."""
        ...

    def end(self, reason: Reason | None, *, at_once: bool = False) -> None:
        """End the connection, now or once what was taken from it is acknowledged."""
        ...


class Commands(Protocol):
    """Whom the connections tell of commands."""

    def takes(self, node: str, connection: object) -> None:
        """A connection of a node takes commands from now on."""
        ...

    def leaves(self, node: str, connection: object) -> None:
        """A connection takes no more commands."""
        ...


@dataclass(slots=True)
class Counters:
    """Figures since the start."""

    accepted: int = 0
    """Connections let in."""
    refused: int = 0
    """Connections not let in, for whatever reason."""
    broken: int = 0
    """Connections ended because the client broke the protocol or a bound."""
    timed_out: int = 0
    forbidden: int = 0
    """Messages on a telemetry topic of another node."""
    reports: int = 0
    """What nodes said of commands."""
    passed: int = 0
    """Packets passed on to the site's broker."""


class Hub:
    """What the connections share."""

    commands: Commands
    """Set before the first connection."""

    def __init__(self, options: MqttOptions, intake: Intake, reports: Reports, nodes: Nodes, ledger: Ledger):
        self.options = options
        self.intake = intake
        self.reports = reports
        self.nodes = nodes
        self.ledger = ledger
        self.values = LastValues()
        self.counters = Counters()
        self.connections: set[Connection] = set()
        self.sessions: dict[str, Session] = {}
        """Of each client that was let in the connection that it has now."""
        self.exactly_once = ExactlyOnce(ledger, self.sessions, self.pause)
        self.backends = 0
        """Connections to the broker that clients have."""
        self.max_files = 0
        """Connections of both kinds that there may be: what the system allows, less what else needs files."""
        self.quiet = False
        """No more payloads are taken, for good."""
        self.paused = False
        """No payloads are taken now."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a further client."""
        files = len(self.connections) + self.backends
        return len(self.sessions) >= self.options.max_clients or files >= self.max_files

    def pause(self, paused: bool) -> None:
        """Have no connection read, or all of them.

        All, not the one whose payload was one too many: each of ten thousand could fill the memory by itself.
        """
        if paused != self.paused:
            self.paused = paused
            for connection in list(self.connections):
                connection.pause_intake(paused)
