"""The ledger: which packet identifiers of QoS 2 are in use, on disk (MQTT 5.0, section 4.3.3, method B).

A message of QoS 2 is stored in the outbox first, and its identifier in the ledger after it, before PUBREC tells the
client so; the identifier is struck out, on disk, before PUBCOMP lets the client use it again. So a client that
returns after a crash of the gateway, and sends again, is recognised. What is stored and not in the ledger yet, one
group of messages, comes twice if the crash falls between the two.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from iot_gateway.files import replace_file, write_all

logger = logging.getLogger(__name__)

MAX_CLIENTS = 20_000
"""Sessions that are remembered; the one that was quiet longest is forgotten first."""
COMPACT_BYTES = 2**20
RETRY_SECONDS = 1.0

Then = Callable[[], None]


class Ledger:
    """Sets of packet identifiers by client, in a file of lines that is rewritten when it has grown."""

    def __init__(self, path: Path):
        """Make the ledger; nothing is opened yet."""
        self._path = path
        self._clients: dict[str, set[int]] = {}
        self._lines: list[bytes] = []
        self._then: list[Then] = []
        self._wake = asyncio.Event()
        self._size = 0
        self._descriptor = -1
        self._writer = ThreadPoolExecutor(1, "mqtt-ledger")

    def open(self) -> None:
        """Read the ledger as its last user left it, however that ended, or begin it.

        Raises:
            OSError: it can't be opened.
        """
        self._read()
        self._rewrite(self._snapshot())

    def _read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            # Without its newline a line was being written when the power went: nobody was told of it.
            for line in self._path.read_bytes().split(b"\n")[:-1]:
                try:
                    client, identifiers, use = orjson.loads(line)
                    self._apply(client, identifiers if identifiers is None else [*map(int, identifiers)], use)
                except (orjson.JSONDecodeError, ValueError, TypeError):
                    logger.error("%s has a line that can't be read: QoS 2 messages may come twice", self._path)

    def _apply(self, client: str, identifiers: Iterable[int] | None, use: bool) -> None:
        held = self._clients.pop(client, None) or set()
        if identifiers is None:
            return
        if use:
            held.update(identifiers)
        else:
            held.difference_update(identifiers)
        if held:
            self._clients[client] = held
            if len(self._clients) > MAX_CLIENTS:
                del self._clients[next(iter(self._clients))]

    def _snapshot(self) -> bytes:
        return b"".join(_line(client, sorted(held), True) for client, held in self._clients.items())

    def _rewrite(self, content: bytes) -> None:
        replace_file(self._path, content)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = len(content)

    def holds(self, client: str, identifier: int) -> bool:
        """Tell whether a client's session has this identifier in use."""
        return identifier in self._clients.get(client, ())

    def count(self, client: str) -> int:
        """Count the identifiers that a client's session has in use."""
        return len(self._clients.get(client, ()))

    def use(self, client: str, identifiers: Iterable[int], then: Then) -> None:
        """Note identifiers; ``then`` is called once that is on disk."""
        self._change(client, list(identifiers), True, then)

    def release(self, client: str, identifiers: Iterable[int], then: Then) -> None:
        """Strike identifiers out; ``then`` is called once that is on disk."""
        self._change(client, list(identifiers), False, then)

    def forget(self, client: str) -> None:
        """The client's session ended: its identifiers mean nothing any more."""
        if client in self._clients:
            self._change(client, None, False, lambda: None)

    def _change(self, client: str, identifiers: list[int] | None, use: bool, then: Then) -> None:
        self._apply(client, identifiers, use)
        self._lines.append(_line(client, identifiers, use))
        self._then.append(then)
        self._wake.set()

    async def run(self) -> None:
        """Write what is noted, in groups, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()

    async def _flush(self) -> None:
        lines, self._lines = self._lines, []
        then, self._then = self._then, []
        data = b"".join(lines)
        # What is noted while this is being written is in the snapshot already, and comes again as a line: no harm.
        snapshot = self._snapshot() if self._size + len(data) > COMPACT_BYTES else None
        loop = asyncio.get_running_loop()
        failed = False
        while True:
            try:
                await loop.run_in_executor(self._writer, self._append, data, snapshot)
            except OSError as error:
                if not failed:
                    logger.error("%s can't be written, QoS 2 is not acknowledged: %s", self._path, error)
                failed = True
                # A write that failed in its middle would spoil the line after it: begin a fresh file.
                snapshot = self._snapshot()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        for call in then:
            call()

    def _append(self, data: bytes, snapshot: bytes | None) -> None:
        if snapshot is not None:
            self._rewrite(snapshot)
            return
        write_all(self._descriptor, data)
        os.fdatasync(self._descriptor)
        self._size += len(data)

    def close(self) -> None:
        """Release the file; what is being written is finished first."""
        self._writer.shutdown()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _line(client: str, identifiers: Iterable[int] | None, use: bool) -> bytes:
    return orjson.dumps([client, identifiers if identifiers is None else list(identifiers), use]) + b"\n"
