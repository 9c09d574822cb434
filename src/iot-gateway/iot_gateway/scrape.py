"""The HTTP endpoint that metrics are scraped from: ``GET /metrics``, and nothing else."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from iot_gateway.backoff import Backoff
from iot_gateway.exposition import CONTENT_TYPE

logger = logging.getLogger(__name__)

MAX_REQUEST: Final = 8192
TIMEOUT: Final = 5.0
MAX_CLIENTS: Final = 16


class Scrape:
    """Serves metrics on one address."""

    def __init__(self, address: str, port: int, metrics: Callable[[], str]):
        self._address, self._port = address, port
        self._metrics = metrics
        self._clients = 0

    async def run(self) -> None:
        """Serve until cancelled; a port in use is tried again."""
        backoff = Backoff()
        while True:
            try:
                server = await asyncio.start_server(self._answer, self._address, self._port, limit=MAX_REQUEST)
            except OSError as error:
                delay = backoff.next()
                logger.error("metrics can't be served, again in %.1f s: %s", delay, error)
                await asyncio.sleep(delay)
                continue
            logger.info("metrics at http://%s:%d/metrics", *server.sockets[0].getsockname()[:2])
            try:
                await asyncio.Event().wait()
            finally:
                server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                async with asyncio.timeout(TIMEOUT):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._response(request.split(b"\r\n", 1)[0]))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that went, dawdles or sends without an end
        finally:
            self._clients -= 1
            writer.close()

    def _response(self, request_line: bytes) -> bytes:
        method, _, rest = request_line.partition(b" ")
        path = rest.split(b" ", 1)[0].split(b"?", 1)[0]
        if path != b"/metrics":
            return _response("404 Not Found", "text/plain", b"metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "text/plain", b"GET is expected\n", "Allow: GET, HEAD\r\n")
        response = _response("200 OK", CONTENT_TYPE, self._metrics().encode())
        return response if method == b"GET" else response[: response.index(b"\r\n\r\n") + 4]


def _response(status: str, content_type: str, body: bytes, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{more}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
