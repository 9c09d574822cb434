"""Where commands come in: what the control socket is asked about them, and what the chain sends."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import orjson

from iot_gateway.calls import Calls
from iot_gateway.control import Handler
from iot_gateway.desk import BookError, Command, CommandError, CommandFilter, CommandRequest, Desk
from iot_gateway.errors import RequestRefusedError
from iot_gateway.interfaces import CommandMessage, Intake
from iot_gateway.nodes import Nodes

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 64 * 1024
"""Of a message that asks for a command."""
RETRY_SECONDS: Final = 1.0


class CommandRequests(Calls):
    """Hands requests to the desk, if there is such a node."""

    def __init__(self, desk: Desk, nodes: Nodes, intake: Intake):
        self.taken = self.rejected = 0
        """Messages of the chain since the start."""
        self._desk = desk
        self._nodes = nodes
        self._intake = intake
        self._in_order = asyncio.Lock()
        self._closed = False
        self._taking: set[asyncio.Task[None]] = set()

    # The control socket

    def handlers(self) -> dict[str, Handler]:
        """Return what can be asked for."""
        return {"send-command": self._send, "list-commands": self._list, "cancel-command": self._cancel}

    async def _send(self, fields: dict[str, Any]) -> Any:
        return (await self._submit(CommandRequest.from_fields(fields))).as_dict()

    async def _list(self, fields: dict[str, Any]) -> Any:
        wanted = CommandFilter.from_fields(fields)
        found = await self._desk.latest(node=wanted.node, state=wanted.state, limit=wanted.limit)
        return [command.as_dict() for command in found]

    async def _cancel(self, fields: dict[str, Any]) -> Any:
        command = await self._desk.cancel(str(fields.get("id", "")), str(fields.get("reason", "")))
        return command.as_dict()

    async def _submit(self, request: CommandRequest) -> Command:
        if self._nodes.lookup(request.node) is None:
            raise RequestRefusedError(
                f"node={request.node!r}: no node is called so; list-nodes shows those that there are"
            )
        return await self._desk.submit(request)

    # The chain

    def take(self, message: CommandMessage, done: Callable[[], None]) -> None:
        """Take a command from the chain; ``done`` is called once it is in the book, or a dead letter."""
        if self._closed:
            return
        task = asyncio.create_task(self._take(message, done))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, message: CommandMessage, done: Callable[[], None]) -> None:
        async with self._in_order:
            while True:
                try:
                    await self._submit(_request(message))
                except BookError:
                    await asyncio.sleep(RETRY_SECONDS)
                except (CommandError, RequestRefusedError) as error:
                    self.rejected += 1
                    logger.warning("a command that came by %s is refused: %s", message.where, error)
                    self._intake.bury(self, message.where, message.body, str(error), done)
                    return
                else:
                    self.taken += 1
                    done()
                    return

    def status(self) -> dict[str, int]:
        """Return how many messages of the chain were taken and refused since the start."""
        return {"taken": self.taken, "rejected": self.rejected}

    def close(self) -> None:
        """Take nothing more; what is not in the book is the chain's to send again."""
        self._closed = True
        for task in self._taking:
            task.cancel()


def _request(message: CommandMessage) -> CommandRequest:
    """Read a message.

    Raises:
        CommandError: it asks for no command.
    """
    if message.fault:
        raise CommandError(message.fault)
    if len(message.body) > MAX_BYTES:
        raise CommandError(f"{len(message.body)} bytes, at most {MAX_BYTES} are allowed")
    try:
        fields = orjson.loads(message.body)
    except orjson.JSONDecodeError as error:
        raise CommandError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CommandError("a JSON object is expected")
    defaults: dict[str, Any] = {"origin": message.where}
    if message.identifier:
        defaults["id"] = message.identifier
    if message.given is not None:
        defaults["given"] = message.given
    return CommandRequest.from_fields({**defaults, **fields})
