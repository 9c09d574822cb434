"""The daemon's end of the API: one request a connection, over a socket that only root can open.

A request is one line of JSON, `{"method": ..., "params": {...}}`. Any number of `{"progress": ...}` lines and then one
`{"result": ...}` or `{"error": ..., "kind": ...}` answer it.
"""

import inspect
import json
import logging
import os
import select
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any

from tabletop.engine.controller import Call, Controller
from tabletop.engine.model import NotFoundError
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
_MAX_LINE = 32 << 20


class ApiServer:
    """Serves a controller until `shutdown` is called or `stop`."""

    def __init__(self, controller: Controller, path: Path, version: str) -> None:
        """Make the server; `serve` begins to serve."""
        self._path = path
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._server = _Server(str(path), controller, version)
        finally:
            os.umask(mask)

    def serve(self) -> None:
        """Serve until stopped."""
        self._server.serve_forever()
        self._server.server_close()
        self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """End `serve`; may be called from a signal handler."""
        self._server.end()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    # Commands that wait for a task must not keep the daemon from ending.
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, controller: Controller, version: str) -> None:
        self.controller = controller
        self.version = version
        super().__init__(path, _Handler)

    def end(self) -> None:
        threading.Thread(target=self.shutdown, name="shutdown", daemon=True).start()


class _Handler(socketserver.BaseRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - this is the only server that makes it
    request: socket

    def handle(self) -> None:
        with self.request.makefile("rb") as lines:
            line = lines.readline(_MAX_LINE)
        if not line:
            return
        try:
            answer = {"result": self._answer(line)}
        except NotFoundError as error:
            answer = {"error": str(error), "kind": "not-found"}
        except TabletopError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        except BrokenPipeError:
            return
        except Exception as error:
            # The outermost loop of a request: the client must get an answer, the log the reason.
            logger.exception("a request failed")
            answer = {"error": f"tabletop failed: {type(error).__name__}: {error}", "kind": "internal"}
        self._send(answer)

    def _answer(self, line: bytes) -> Any:
        try:
            request = json.loads(line)
            name, params = request["method"], dict(request.get("params") or {})
        except (ValueError, KeyError, TypeError):
            raise TabletopError("not a request: expected a line of JSON with method and params") from None
        if name == "ping":
            return {"version": self.server.version, "pid": os.getpid()}
        if name == "shutdown":
            self.server.end()
            return None
        method: Callable[..., Any] | None = None
        if isinstance(name, str) and not name.startswith("_") and name != "stop":
            method = getattr(self.server.controller, name, None)
        if method is None:
            raise TabletopError(f"there is no method {name}")
        signature = inspect.signature(method)
        params.pop("call", None)
        if "call" in signature.parameters:
            params["call"] = Call(lambda text: self._send({"progress": text}), self._alive)
        try:
            signature.bind(**params)
        except TypeError as error:
            raise TabletopError(f"{name}: {error}") from None
        return method(**params)

    def _alive(self) -> bool:
        """Tell whether the client still holds its end of the connection open."""
        readable, _, _ = select.select([self.request], [], [], 0)
        return not readable

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.request.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            logger.debug("a client went away: %s", error)
