"""What the core of the relay knows of transports and stores: these classes, and nothing else.

The data flow::

    Listener --offer--> Intake --append--> Outbox --read--> Forwarder --publish--> Sender (of an Uplink)
    Source <-acknowledge-- (once durable)        <-advance-- (once confirmed) <-done--

Plugins are found by name (:mod:`iot_gateway.registry`). A plugin class has an ``Options`` model; its settings in
the configuration are read by that model, so that the core knows no setting of any transport either.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from iot_gateway.desk import Desk
from iot_gateway.nodes import Nodes
from iot_gateway.shapes import Shape
from iot_telemetry.senml import SenmlRecord


class Options(Shape, frozen=True, kw_only=True):
    """Base of the settings of a plugin."""


Decode = Callable[[bytes, float], list[SenmlRecord]]
"""Reads a payload at a time (seconds since the epoch), and raises MalformedPayloadError where it can't."""


class Source(Protocol):
    """Where a payload came from, and where its acknowledgement goes: a connection of a listener."""

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Tell the sender that the payloads which ``tokens`` stand for are stored for good."""
        ...

    def pause(self) -> None:
        """Take no more payloads off the transport until :meth:`resume`."""
        ...

    def resume(self) -> None:
        """Go on taking payloads."""
        ...

    def refused(self, token: Any, reason: str) -> Any:
        """Learn that a payload is no reading and will be kept as a dead letter.

        Returns:
            The token to acknowledge it with: another one where the transport can tell its sender.
        """
        ...


class Intake(Protocol):
    """What a listener hands payloads to. Called in the event loop; never blocks, never raises."""

    @property
    def refusal(self) -> str | None:
        """Why no telemetry is stored now, in words for a node or an operator; None while all is well.

        For transports that can tell a sender to come back later: what is offered all the same waits in memory.
        """
        ...

    def offer(
        self, source: Source, node: str, topic: str, payload: bytes, token: Any, decode: Decode | None = None
    ) -> bool:
        """Take a payload.

        Args:
            source: its ``acknowledge`` is called with ``token`` once the payload is on disk, as readings or as a
                dead letter. Until then the payload is the sender's to send again.
            node: the node that the transport says is speaking; empty if it can't say.
            topic: where it arrived, for the operator who reads the dead letter.
            payload: as the node sent it.
            token: anything; None for a payload that the transport can't acknowledge.
            decode: how it is read, where the transport knows; None for what the configuration says of the topic, and
                SenML in JSON elsewhere.

        Returns:
            Whether it is made of readings; if not, it is kept as a dead letter.
        """
        ...

    def bury(self, source: Source, topic: str, payload: bytes, reason: str, token: Any) -> None:
        """Keep a payload that is no reading, and not meant to be one, as a dead letter.

        Args:
            source: as in :meth:`offer`.
            topic: where it arrived.
            payload: as it came.
            reason: why nothing can be done with it.
            token: as in :meth:`offer`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Core:
    """What the core of the relay offers to a listener."""

    intake: Intake
    nodes: Nodes
    desk: Desk
    """Where a listener brings a courier for commands, and what nodes say of them."""
    state: Path
    """A directory for what listeners must remember over a restart; each makes its own folder in it."""


class Listener(ABC):
    """Takes payloads from nodes."""

    Options: ClassVar[type[Options]]
    options: Any
    """The settings in use."""

    @abstractmethod
    def __init__(self, options: Any, core: Core):
        """Make the listener; nothing is opened yet."""

    def configure(self, options: Any) -> bool:
        """Use other settings from now on, without dropping a connection.

        Called at every reload, with settings that are the same or not: files that they name are read again.

        Returns:
            Whether it could; if not, the listener is stopped and another one made.
        """
        return options == self.options

    @abstractmethod
    async def run(self) -> None:
        """Listen until cancelled; come back from every fault of the transport with a back-off."""

    @abstractmethod
    def quiesce(self) -> None:
        """Take no more payloads; acknowledgements of those taken still go out. What follows is the end of ``run``."""

    @property
    def draining(self) -> bool:
        """Whether payloads that had come before :meth:`quiesce`, and that nobody would send again, are still offered.

        The end of ``run`` follows when there are none any more, or some seconds have passed.
        """
        return False

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """Return at least ``connected`` (bool) and ``error`` (str or None); ``clients`` and ``refused`` are metrics."""


class Position(NamedTuple):
    """A place in an outbox, in the order of its entries."""

    segment: int
    offset: int
    skip: int
    """Entries of the frame at ``offset`` that lie before the place."""


END: Final = Position(2**64 - 1, 0, 0)
"""Behind all entries that there will ever be."""


class Frame(NamedTuple):
    """What is stored in one piece: some entries, one a line."""

    entries: int
    body: bytes
    """``entries`` lines, each with its newline."""


class Stored(NamedTuple):
    """A frame as it was read back."""

    frame: Frame
    start: Position
    """Where it lies; ``skip`` is how many of its entries lie before the place that was asked for."""
    end: Position
    """The place after it."""


class Confirmed(NamedTuple):
    """What the other end answers for: the entries of a parcel, all of one segment."""

    begin: Position
    end: Position
    entries: int


class Outbox(ABC):
    """Keeps entries in order, on disk, until they are confirmed. One for each lane."""

    Options: ClassVar[type[Options]]
    head: Position
    """The first entry that is not confirmed."""
    tail: Position
    """Where the next entry goes."""
    gaps: int
    """How many stretches are not confirmed, with what is confirmed between them; 1 if all is confirmed in order."""

    @abstractmethod
    async def append(self, frames: Sequence[Frame]) -> None:
        """Store frames; they survive a power cut once this returns.

        Raises:
            OutboxFullError: there is no room for them within the outbox's bound.
            OutboxUnavailableError: the disk is full or faulty.
        """

    @abstractmethod
    def read(self, position: Position) -> Stored | None:
        """Return the first frame from ``position`` on that is not confirmed; None at the tail.

        The frame is whole, whatever ``skip`` says.
        """

    @abstractmethod
    async def confirm(self, parts: Sequence[Confirmed]) -> None:
        """Forget what is confirmed; durable once this returns.

        Raises:
            OSError: the disk is faulty; it may be tried again.
        """

    @abstractmethod
    def holds(self, position: Position) -> bool:
        """Tell whether the entry that ends at ``position`` is still to be confirmed."""

    @abstractmethod
    async def expire(self) -> None:
        """Drop what is older than the settings allow."""

    @abstractmethod
    def configure(self, options: Any) -> None:
        """Use other settings from now on."""

    @abstractmethod
    def close(self) -> None:
        """Release the files."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """Return its figures.

        At least ``entries``, ``bytes``, ``max_bytes``, ``used_bytes`` (on disk), ``free_bytes`` (that the disk has),
        ``oldest_seconds``, ``confirmed_total``, ``dropped_total`` (by cause), ``appended_bytes`` (since the start) and
        ``error``.
        """


class Outcome(Enum):
    """What became of an envelope."""

    CONFIRMED = "confirmed"
    """The other end answers for it now."""
    UNROUTABLE = "unroutable"
    """The other end had nowhere to put it."""
    REFUSED = "refused"
    """The other end could not take it."""
    LOST = "lost"
    """The link broke first; it may have arrived or not."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message for the uplink."""

    body: bytes
    message_id: str
    key: str
    """``<site>.<gateway>``."""
    timestamp: int
    content_type: str
    content_encoding: str | None = None
    headers: dict[str, Any] = field(default_factory=dict[str, Any])


Done = Callable[[Outcome], None]


class Sender(ABC):
    """Sends the envelopes of one lane. A fault on one lane does not touch another."""

    ready: bool
    on_change: Callable[[], None]
    """Called when ``ready`` changes; set by whoever sends."""

    @abstractmethod
    def publish(self, envelope: Envelope, done: Done) -> None:
        """Send without waiting; ``done`` is called once, later, with what became of it. Only while ``ready``."""


class CommandMessage(NamedTuple):
    """A message of the chain that asks for a command."""

    body: bytes
    """A :class:`iot_gateway.desk.CommandRequest` in JSON."""
    identifier: str
    """The message's own, for a command that is given none; may be empty."""
    given: float | None
    """When it was given, seconds since the epoch, if the message says so."""
    where: str
    """Where it came, for the list of commands and for dead letters."""
    fault: str = ""
    """Why what came beside the body can't be read: then neither identifier nor time is known, and it is refused."""


TakeCommand = Callable[[CommandMessage, Callable[[], None]], None]
"""Takes a message; the call that is handed over is made once the command is on disk, or a dead letter."""


class Uplink(ABC):
    """Carries lanes to the analytics chain, and may bring commands from it."""

    Options: ClassVar[type[Options]]

    @abstractmethod
    def __init__(self, options: Any, gateway: str, lanes: Sequence[str]):
        """Make the uplink with one sender a lane; nothing is opened yet."""

    senders: dict[str, Sender]

    def on_command(self, take: TakeCommand) -> None:  # noqa: B027 - an uplink may bring none
        """Hand commands that the chain sends to ``take``; called before :meth:`run`. By default there are none."""

    @abstractmethod
    async def run(self) -> None:
        """Stay connected until cancelled; come back from every fault with a back-off."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """Return at least ``connected`` (bool) and ``error`` (str or None)."""
