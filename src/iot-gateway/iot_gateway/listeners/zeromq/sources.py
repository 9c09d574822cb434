"""Where payloads come from by ZeroMQ: nodes that PUSH, and nodes that have a DEALER."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, cast

import zmq
import zmq.asyncio

from iot_gateway import interfaces
from iot_gateway.desk import Command, CommandError, Courier, NotReachedError, State
from iot_gateway.desk.reports import Reports
from iot_gateway.listeners.zeromq.admission import PROTOCOL
from iot_gateway.payloads import decoder

logger = logging.getLogger(__name__)

MOST_REPORTS: Final = 1000
"""What nodes said of commands and is not on disk: what comes beyond it is not taken, as none of it is acknowledged."""


class PullSource:
    """Where payloads of PUSH come from: nobody who could be told that they are stored."""

    def __init__(self):
        self.open = asyncio.Event()
        self.open.set()

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Nobody waits for it."""

    def refused(self, token: Any, reason: str) -> Any:  # noqa: ARG002
        """Nobody waits for it."""
        return token

    def pause(self) -> None:
        """Take nothing: the nodes' own queues fill, and their PUSH blocks."""
        self.open.clear()

    def resume(self) -> None:
        """Take again."""
        self.open.set()


class Dealers(PullSource, Courier):
    """The nodes that have a DEALER: their telemetry is acknowledged, and commands reach them."""

    protocol = PROTOCOL

    def __init__(self, core: interfaces.Core):
        super().__init__()
        self._core = core
        self.router: zmq.asyncio.Socket | None = None
        self.identities: dict[str, bytes] = {}
        """Node -> the connection that it spoke over last."""
        self.reports = Reports(core.desk)

    def forget(self, names: set[str]) -> None:
        """Reach these nodes no more, until they speak again."""
        for name in names:
            self.identities.pop(name, None)

    def hear(self, identity: bytes, node: str, frames: list[bytes]) -> None:
        """Take a message of a node."""
        if self._core.nodes.lookup(node) is None:
            return  # its connection is older than its removal
        match frames:
            case [b"telemetry", identifier, payload]:
                token = (identity, identifier)
                self._core.intake.offer(self, node, node, payload, token, decoder(payload))
            case [b"hello"]:
                self.identities[node] = identity
                self._send(identity, b"welcome")
                self._core.desk.arrived(node)
            case [b"command-state", text]:
                self.identities[node] = identity
                self._report(node, text)
            case _:
                logger.info("node %s sent a message that ZeroMQ's listener does not know: %r", node, frames[0][:32])

    def _report(self, node: str, text: bytes) -> None:
        if self.reports.waiting >= MOST_REPORTS:
            return
        try:
            self.reports.take(node, text, lambda: None)
        except CommandError as error:
            logger.warning("node %s says of a command: %s", node, error)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Tell nodes that their payloads are stored."""
        for identity, identifier in tokens:
            self._send(identity, b"stored", identifier)

    def _send(self, identity: bytes, *frames: bytes) -> bool:
        if self.router is None or self.router.closed:
            return False
        try:
            # Below asyncio's: it says at once whether it could.
            plain = cast("Any", zmq.Socket).shadow(self.router.underlying)
            plain.send_multipart([identity, *frames], zmq.DONTWAIT)
        except zmq.ZMQError:
            return False  # gone, or too slow: the node sends it again
        return True

    def reaches(self, node: str) -> bool:
        """Tell whether the node has said hello and was not seen going."""
        return node in self.identities

    async def carry(self, command: Command) -> State:
        """Send a command."""
        identity = self.identities.get(command.node)
        if identity is None or not self._send(identity, b"command", command.for_node()):
            self.identities.pop(command.node, None)
            raise NotReachedError("its connection is gone")
        return State.SENT
