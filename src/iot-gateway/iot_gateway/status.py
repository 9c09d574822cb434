"""The status socket: whoever connects is given one JSON object, and the connection is closed."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import orjson

from iot_gateway.errors import NotRunningError

TIMEOUT = 5.0


@contextlib.asynccontextmanager
async def serve(path: Path, status: Callable[[], dict[str, Any]]) -> AsyncGenerator[None]:
    """Answer at the Unix socket ``path`` for as long as the context is open.

    Raises:
        OSError: the socket can't be made.
    """

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(orjson.dumps(status()))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path)
    path.chmod(0o660)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def ask(path: Path) -> dict[str, Any]:
    """Ask a running relay for its status.

    Raises:
        NotRunningError: no relay answers there.
    """
    return exchange(path, b"", TIMEOUT)


def exchange(path: Path, request: bytes, timeout: float) -> Any:
    """Send a request to a socket of the relay, and return the JSON that it answers before it closes the connection.

    Raises:
        NotRunningError: no relay answers there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout)
            client.connect(str(path))
            # Without a request the answer may be there, and the other end closed, already: then nothing can be sent.
            if request:
                client.sendall(request)
            answer = b""
            while data := client.recv(65536):
                answer += data
        return orjson.loads(answer)
    except (OSError, orjson.JSONDecodeError) as error:
        raise NotRunningError(f"no relay answers at {path}: {error}") from error
