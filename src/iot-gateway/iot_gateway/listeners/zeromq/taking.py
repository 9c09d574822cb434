"""How messages are taken off a socket, and how that comes to an end without losing what is there."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import zmq
import zmq.asyncio

from iot_gateway.listeners.zeromq.connections import Callers

REST_SECONDS: Final = 1.0
"""How long those who were hung up on may send nothing and yet stay, before nothing more is expected of them."""
CHECK_SECONDS: Final = 0.01

Hear = Callable[[Sequence[zmq.Frame]], None]
"""Takes a message."""


class Taker:
    """Takes the messages of one socket, one after the other."""

    def __init__(
        self,
        bound: zmq.asyncio.Socket,
        may_take: asyncio.Event,
        hear: Hear,
        port: int | None,
    ):
        """Make it, in a running event loop.

        Args:
            bound: the socket.
            may_take: set while messages may be taken.
            hear: takes one.
            port: that it is bound to, where nobody expects an answer: connections are ended to have the rest of what
                was sent. None where they are to stay, and what is not answered is sent again.
        """
        self.bound = bound
        self.done = False
        """Whether all that had come was taken, after :meth:`finish`."""
        self._may_take = may_take
        self._hear = hear
        self._port = port
        self._finish: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        """Take what has come, and then nothing. Nobody must be let in any more."""
        if not self._finish.done():
            self._finish.set_result(None)

    async def run(self) -> None:
        """Take messages until :meth:`finish`, and those that are there then."""
        while not self._finish.done():
            await self._may_take.wait()
            coming: Any = self.bound.recv_multipart(copy=False)
            if not coming.done():
                await asyncio.wait((coming, self._finish), return_when=asyncio.FIRST_COMPLETED)
            # One that can't be cancelled has taken a message.
            if coming.done() or not coming.cancel():
                await self._take(coming.result())
        await self._take_the_rest()
        self.done = True

    async def _take_the_rest(self) -> None:
        callers = Callers(self._port) if self._port is not None else None
        patience = time.monotonic() + REST_SECONDS
        while True:
            # First: what those who are gone by now had sent is here.
            left = callers is not None and callers.hang_up()
            if await self._take_what_is_there():
                patience = time.monotonic() + REST_SECONDS
            if not left or time.monotonic() > patience:
                return
            await asyncio.sleep(CHECK_SECONDS)

    async def _take_what_is_there(self) -> bool:
        """Tell whether there was anything; return as well if it does not end."""
        anything = False
        deadline = time.monotonic() + REST_SECONDS
        while time.monotonic() < deadline:
            await self._may_take.wait()
            try:
                frames: Any = await self.bound.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return anything
            anything = True
            await self._take(frames)
        return anything

    async def _take(self, frames: Sequence[zmq.Frame]) -> None:
        self._hear(frames)
        # As long as there are messages, nothing else here waits: nobody but who sends would have a turn.
        await asyncio.sleep(0)
