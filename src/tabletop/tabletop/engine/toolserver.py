"""Answers the hook tools of one machine over a socket in the machine's folder."""

import logging
import shutil
import struct
import threading
from importlib import resources
from pathlib import Path
from socket import socket

from tabletop.engine import hooktools
from tabletop.engine.model import Model
from tabletop.engine.sockets import Listener

logger = logging.getLogger(__name__)
_MAX_REQUEST = 64 << 20


def install_tools(directory: Path) -> None:
    """Put the client and a link for every tool into `<directory>/tools`."""
    tools = directory / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    with resources.as_file(resources.files("tabletop.engine").joinpath("hook-tool")) as source:
        draft = tools / ".hook-tool.new"
        shutil.copyfile(source, draft)
        draft.chmod(0o755)
        draft.replace(tools / "hook-tool")
    for name in hooktools.NAMES:
        link = tools / name
        if not link.is_symlink():
            link.symlink_to("hook-tool")


class ToolServer:
    """Serves `<directory>/agent.socket` from threads of its own until it is closed."""

    def __init__(self, model: Model, directory: Path) -> None:
        """Start to serve."""
        self._model = model
        self._listener = Listener(directory / "agent.socket", self._serve)
        self._thread = threading.Thread(target=self._listener.serve, name=f"tools-{directory.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._listener.stop()
        self._thread.join()

    def _serve(self, connection: socket) -> None:
        try:
            fields = _read_fields(connection)
        except (OSError, ValueError) as error:
            logger.warning("a hook tool's call could not be read: %s", error)
            return
        answer = self._answer(fields)
        out, err = answer.out.encode(), answer.err.encode()
        try:
            connection.sendall(struct.pack("!II", answer.code, len(out)) + out + struct.pack("!I", len(err)) + err)
        except OSError as error:
            logger.debug("a hook tool went away before its answer: %s", error)

    def _answer(self, fields: list[bytes]) -> hooktools.Answer:
        context_id, tool, count = fields[0].decode(), fields[1].decode(), int(fields[2])
        arguments = [field.decode(errors="surrogateescape") for field in fields[3 : 3 + count]]
        pairs = fields[3 + count :]
        files = {pairs[i].decode(errors="surrogateescape"): pairs[i + 1] for i in range(0, len(pairs) - 1, 2)}
        context = self._model.contexts.get(context_id)
        if context is None:
            return hooktools.Answer(1, "", f"ERROR {tool}: the hook {context_id!r} is over\n")
        return hooktools.call(context, tool, arguments, files)


def _read_fields(connection: socket) -> list[bytes]:
    (count,) = struct.unpack("!I", _read(connection, 4))
    if not 3 <= count <= 100_000:
        raise ValueError(f"{count} fields")
    fields: list[bytes] = []
    total = 0
    for _ in range(count):
        (size,) = struct.unpack("!I", _read(connection, 4))
        total += size
        if total > _MAX_REQUEST:
            raise ValueError(f"longer than {_MAX_REQUEST} bytes")
        fields.append(_read(connection, size))
    return fields


def _read(connection: socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = connection.recv(min(size - len(data), 1 << 16))
        if not block:
            raise ValueError("it ended early")
        data += block
    return bytes(data)
