"""The daemon's end of the API: one request a connection, over a socket that only root can open.

A request is one line of JSON, `{"method": ..., "params": {...}}`. Any number of `{"progress": ...}` lines and then one
`{"result": ...}` or `{"error": ..., "kind": ...}` answer it.
"""

import inspect
import json
import logging
import os
import select
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any

from tabletop.engine.command import Call
from tabletop.engine.controller import Controller
from tabletop.engine.model import NotFoundError
from tabletop.engine.sockets import Listener
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
_MAX_LINE = 32 << 20
_DRAIN_S = 5.0
_ALWAYS = ("ping", "shutdown")
"""What a daemon does for clients of any code."""


class ApiServer:
    """Serves a controller."""

    def __init__(self, controller: Controller, path: Path, version: str, code: str = "") -> None:
        """Listen; requests are answered once `serve` runs.

        Args:
            controller: what is served.
            path: of the socket.
            version: of Juju, that is followed.
            code: tells this daemon's code from any other; clients of other code ask for it to be replaced.
        """
        self._controller = controller
        self._version = version
        self._code = code
        self._ended = threading.Condition()
        self._under_way: list[str] = []
        self._listener = Listener(path, self._handle)

    def serve(self) -> None:
        """Serve until `stop`, or until a client asks for `shutdown`; requests under way get a while to end."""
        self._listener.serve()
        with self._ended:
            self._ended.wait_for(lambda: not self._under_way, _DRAIN_S)

    def stop(self) -> None:
        """End `serve`; may be called from a signal handler."""
        self._listener.stop()

    def _handle(self, connection: socket) -> None:
        with connection.makefile("rb") as lines:
            line = lines.readline(_MAX_LINE)
        if not line:
            return
        name = ""
        try:
            name, params, code = _parse(line)
            with self._noting(name) as others:
                if self._code and code not in ("", self._code) and name not in _ALWAYS:
                    busy = [*self._controller.running_tasks(), *others]
                    if not busy:
                        _send(connection, {"error": "the daemon runs other code than its client", "kind": "stale"})
                        return
                    what = ", ".join(dict.fromkeys(busy))
                    text = f"tabletop's code has changed: its daemon is replaced once this has ended: {what}"
                    _send(connection, {"progress": text})
                answer = {"result": self._answer(name, params, connection)}
        except NotFoundError as error:
            answer = {"error": str(error), "kind": "not-found"}
        except TabletopError as error:
            answer = {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            # The outermost loop of a request: the client must get an answer, the log the reason.
            logger.exception("the request %s failed", name)
            answer = {"error": f"tabletop failed: {type(error).__name__}: {error}", "kind": "internal"}
        _send(connection, answer)
        if name == "shutdown":
            self.stop()

    @contextmanager
    def _noting(self, name: str) -> Generator[list[str]]:
        """Note a request while it is answered; yields the others that are."""
        with self._ended:
            others = list(self._under_way)
            self._under_way.append(name)
        try:
            yield others
        finally:
            with self._ended:
                self._under_way.remove(name)
                self._ended.notify_all()

    def _answer(self, name: str, params: dict[str, Any], connection: socket) -> Any:
        if name == "ping":
            return {"version": self._version, "pid": os.getpid(), "code": self._code}
        if name == "shutdown":
            return None
        method: Callable[..., Any] | None = None
        if not name.startswith("_") and name != "stop":
            method = getattr(self._controller, name, None)
        if method is None:
            raise TabletopError(f"there is no method {name}")
        signature = inspect.signature(method)
        params.pop("call", None)
        if "call" in signature.parameters:
            params["call"] = Call(lambda text: _send(connection, {"progress": text}), lambda: _alive(connection))
        try:
            signature.bind(**params)
        except TypeError as error:
            raise TabletopError(f"{name}: {error}") from None
        return method(**params)


def _parse(line: bytes) -> tuple[str, dict[str, Any], str]:
    try:
        request = json.loads(line)
        return str(request["method"]), dict(request.get("params") or {}), str(request.get("code") or "")
    except (ValueError, KeyError, TypeError):
        raise TabletopError("not a request: expected a line of JSON with method and params") from None


def _alive(connection: socket) -> bool:
    """Tell whether the client still holds its end of the connection open."""
    readable, _, _ = select.select([connection], [], [], 0)
    return not readable


def _send(connection: socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError as error:
        logger.debug("a client went away: %s", error)
