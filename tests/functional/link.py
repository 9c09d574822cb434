"""A link that a test can cut, stall and slow down: a TCP proxy on the loopback."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

CHUNK = 16 * 1024


class Link:
    """Passes connections on to a port of this machine."""

    def __init__(self, target: int):
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._cut = False
        self._stalled = False
        self._bytes_per_second: float | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server, self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(function(*arguments), self._loop)
        return done.result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        self._ends -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                while self._stalled:
                    await asyncio.sleep(0.02)
                if self._bytes_per_second:
                    await asyncio.sleep(len(data) / self._bytes_per_second)
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break every connection, and let none be made."""

        async def cut() -> None:
            self._cut = True
            for end in self._ends:
                end.transport.abort()

        self._call(cut)

    def stall(self) -> None:
        """Swallow what is sent, as a link does that is gone without a word."""
        self._stalled = True

    def slow_down(self, bytes_per_second: float | None) -> None:
        """Pass on so many bytes a second in each direction; None for all of them."""
        self._bytes_per_second = bytes_per_second

    def heal(self) -> None:
        """Work as it should."""
        self._cut = self._stalled = False
        self._bytes_per_second = None

    def cut_for(self, seconds: float) -> None:
        """Cut, and heal."""
        self.cut()
        time.sleep(seconds)
        self.heal()

    def close(self) -> None:
        """End it."""
        self.cut()

        async def end() -> None:
            self._server.close()
            await asyncio.sleep(0.05)

        self._stalled = False
        self._call(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
