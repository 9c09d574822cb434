"""What the tests of listeners share: how one is run, and what its desk tells."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from iot_gateway.desk import Command, Step


class SilentChain:
    """Stores what it is told, and keeps nothing of it."""

    def tell(self, command: Command, step: Step, done: Callable[[], None]) -> None:
        done()


class ListenerRig:
    """A listener that a test begins and ends."""

    listener: Any

    @property
    def is_up(self) -> bool:
        return self.listener.status()["connected"]

    async def start(self) -> None:
        self.task = asyncio.create_task(self.listener.run())
        await until(lambda: self.is_up)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)
