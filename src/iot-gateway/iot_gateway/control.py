"""The control socket: what the relay can be asked to do, by root and by its own user on this machine.

A client sends one JSON object, ``{"do": <name>, ...}``, and a newline; it is answered by one JSON object,
``{"result": ...}`` or ``{"error": <text>}``, and the connection is closed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from iot_gateway import status
from iot_gateway.errors import GatewayError, RequestRefusedError

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], Awaitable[Any]]

TIMEOUT = 60.0
MAX_REQUEST = 64 * 1024


@contextlib.asynccontextmanager
async def serve(path: Path, handlers: Mapping[str, Handler]) -> AsyncGenerator[None]:
    """Answer at the Unix socket ``path`` for as long as the context is open.

    Args:
        path: of the socket; only its owner can connect.
        handlers: by what a client can ask for; each gets the request's other fields, and raises `GatewayError` to
            refuse.

    Raises:
        OSError: the socket can't be made.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                writer.write(orjson.dumps(await _answer(await reader.readline(), handlers)))
                await writer.drain()
        except (ConnectionError, TimeoutError, ValueError):
            pass  # a client that went, dawdles or sends without an end
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path, limit=MAX_REQUEST)
    path.chmod(0o600)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _answer(request: bytes, handlers: Mapping[str, Handler]) -> dict[str, Any]:
    try:
        content: Any = orjson.loads(request)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        return {"error": "a JSON object on one line is expected"}
    fields: dict[str, Any] = content  # pyright: ignore[reportUnknownVariableType]
    wanted = fields.pop("do", None)
    handler = handlers.get(wanted) if isinstance(wanted, str) else None
    if handler is None:
        return {"error": f"do={wanted!r}: known are {', '.join(sorted(handlers))}"}
    try:
        return {"result": await handler(fields)}
    except GatewayError as error:
        return {"error": str(error)}
    except Exception:
        # The outermost loop of a request: one that the relay did not foresee must not end the relay.
        logger.exception("the request %s failed", wanted)
        return {"error": f"{wanted} failed in a way that was not foreseen; see the relay's log"}


def ask(path: Path, request: Mapping[str, Any]) -> Any:
    """Ask a running relay, and return its result.

    Raises:
        NotRunningError: no relay answers there.
        RequestRefusedError: it refused; the text says why.
    """
    content = status.exchange(path, orjson.dumps(request) + b"\n", TIMEOUT)
    if "error" in content:
        raise RequestRefusedError(content["error"])
    return content["result"]
