"""What nodes say of their commands, on its way into the book."""

import asyncio
from collections.abc import Callable
from typing import Final

from iot_gateway.desk.command import NodeReport, State
from iot_gateway.desk.desk import Desk
from iot_gateway.desk.errors import BookError

RETRY_SECONDS: Final = 1.0


class Reports:
    """Those that are not on disk yet; for transports that acknowledge one once it is."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._noting: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many they are."""
        return len(self._noting)

    def take(self, node: str, payload: bytes, done: Callable[[], None]) -> None:
        """Take a report in JSON; ``done`` is called once it is on disk, or is known to be no news.

        Raises:
            CommandError: it is nothing that a node may say.
        """
        said = NodeReport.from_json(payload)
        task = asyncio.create_task(self._note(node, said, done))
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    def close(self) -> None:
        """Note nothing more; what is not on disk comes again."""
        for task in self._noting:
            task.cancel()

    async def _note(self, node: str, said: NodeReport, done: Callable[[], None]) -> None:
        while True:
            try:
                await self._desk.report(node, said.id, State(said.state), said.reason)
            except BookError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        done()
