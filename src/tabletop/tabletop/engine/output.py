"""Takes what a program prints, for as long as that is waited for."""

import io
import os
import select
import threading
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEEP_BYTES = 4 << 20


class _Pipe(io.RawIOBase):
    """The reading end of a pipe, which is at its end when nobody writes to it any more, or when it is ended."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._ended = os.eventfd(0)

    def end(self) -> None:
        os.eventfd_write(self._ended, 1)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        ready = select.poll()
        for file in (self._source, self._ended):
            ready.register(file, select.POLLIN)
        if self._ended in (file for file, _ in ready.poll()):
            return 0
        return os.readv(self._source.fileno(), [buffer])

    def close(self) -> None:
        if not self.closed:
            self._source.close()
            os.close(self._ended)
        super().close()


class Reader(threading.Thread):
    """Reads a stream to its end, or until that is waited for no longer, keeping its text up to a limit."""

    def __init__(self, name: str, stream: IO[bytes], on_line: Callable[[str, str], None] | None) -> None:
        super().__init__(name=f"read-{name}", daemon=True)
        self._stream_name = name
        self._pipe = _Pipe(stream)
        self._lines = io.BufferedReader(self._pipe)
        self._on_line = on_line
        self._kept = bytearray()
        self.start()

    def run(self) -> None:
        """Take each line as it comes."""
        for line in self._lines:
            if len(self._kept) < _KEEP_BYTES:
                self._kept += line
            if self._on_line is not None:
                self._on_line(self._stream_name, line.decode(errors="replace").rstrip("\n"))

    def end(self, patience: float) -> None:
        """Close the stream once it has come to its end, or after so many seconds."""
        self.join(max(0.0, patience))
        self._pipe.end()
        self.join()
        self._lines.close()

    def text(self) -> str:
        """Return what was kept."""
        return bytes(self._kept).decode(errors="replace")
