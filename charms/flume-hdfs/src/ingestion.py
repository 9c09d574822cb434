"""Compares what is in HDFS with what was sent."""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from iot_charm.errors import IotCharmError
from iot_charm.flume.boundaries import ends_whole
from iot_charm.flume.hdfs import FILE_PREFIX, IN_USE_SUFFIX, ROOT, SMOKE_TEST
from iot_charm.flume.store import Entry, Store, StoreError
from iot_telemetry.accounting import Account
from iot_telemetry.errors import MalformedReadingError
from iot_telemetry.reading import Reading

POLL_S = 2.0
DECODED_BYTES = 1 << 20
"""Most that is decoded at a time: gzip can hold a thousand times its size."""


class UnreadableFileError(IotCharmError):
    """A finished file is in a format that can't be counted here."""


@dataclass
class Ingestion:
    """Counts the readings under some event directories, each finished file once.

    Args:
        files: HDFS.
        event_dirs: directories under ``/user/flume``; all of them if there are none.
        node: counts only its readings; all if empty.
    """

    files: Store
    event_dirs: Sequence[str]
    node: str = ""
    open_files: int = 0
    """Files that are not finished, as of the last look."""
    malformed: int = 0
    """Lines that are no readings."""
    _account: Account = field(default_factory=Account)
    _counted: set[str] = field(default_factory=set[str])

    def look(self) -> None:
        """Count what was finished since the last look.

        Raises:
            StoreError: HDFS does not answer.
            UnreadableFileError: a file can't be counted.
        """
        self.open_files = 0
        for directory in self.event_dirs or self._all_event_dirs():
            for entry in self.files.walk(f"{ROOT}/{directory}"):
                if entry.is_directory or entry.path in self._counted:
                    continue
                if entry.name.endswith(IN_USE_SUFFIX):
                    self.open_files += 1
                elif entry.name.startswith(f"{FILE_PREFIX}."):
                    self._count(entry)

    @property
    def distinct(self) -> int:
        """Readings in HDFS, each counted once."""
        return sum(report.distinct for report in self._account.report().values())

    @property
    def duplicated(self) -> int:
        """Readings that are there again."""
        return sum(report.duplicates for report in self._account.report().values())

    @property
    def gaps(self) -> int:
        """Readings missing in between."""
        return sum(report.lost for report in self._account.report().values())

    def listing(self, lines: int = 10) -> str:
        """Return the end of what ``hadoop fs -ls -R`` prints for the event directories."""
        listed: list[str] = []
        for directory in self.event_dirs or self._all_event_dirs():
            listed += listing(self.files, f"{ROOT}/{directory}")
            listed = listed[-lines:]
        return "\n".join(listed)

    def _all_event_dirs(self) -> list[str]:
        return [entry.name for entry in self.files.list(ROOT) if entry.is_directory and entry.name != SMOKE_TEST]

    def _count(self, entry: Entry) -> None:
        if entry.name.endswith((".snappy", ".avro")):
            raise UnreadableFileError(f"{entry.path}: only text and gzip files can be counted here")
        if not self._is_finished(entry):
            # Its writer lost HDFS; the recovery of the unit that wrote it will finish it.
            self.open_files += 1
            return
        chunks = self.files.chunks(entry.path, size=1 << 20)
        needle = f'"node":"{self.node}"'.encode() if self.node else b""
        for lines in _lines(_gunzipped(chunks) if entry.name.endswith(".gz") else chunks):
            for line in lines:
                if needle in line:
                    self._add(line)
        self._counted.add(entry.path)

    def _is_finished(self, entry: Entry) -> bool:
        try:
            return entry.length > 0 and ends_whole(
                entry.name, entry.length, lambda offset, size: self.files.read(entry.path, offset, size)
            )
        except StoreError:
            # The end of a file that lost its writer can't be read before HDFS has closed it.
            return False

    def _add(self, line: bytes) -> None:
        if not line:
            return
        try:
            reading = Reading.from_line(line)
        except MalformedReadingError:
            self.malformed += 1
            return
        if not self.node or reading.node == self.node:
            self._account.add(reading)


def wait_for(
    ingestion: Ingestion, sent: int, *, timeout_s: float, progress: Callable[[str], None], pause_s: float = POLL_S
) -> None:
    """Look until all that was sent is there or the time is over.

    Args:
        ingestion: what looks.
        sent: readings to wait for; negative: look once.
        timeout_s: longest time to wait.
        progress: is told when something came.
        pause_s: between two looks.
    """
    deadline = time.monotonic() + timeout_s
    before = -1
    while True:
        ingestion.look()
        found = ingestion.distinct
        if found != before:
            of = f" of {sent}" if sent >= 0 else ""
            progress(f"{found}{of} readings are in HDFS, {ingestion.open_files} files are still open")
            before = found
        if sent < 0 or found >= sent or time.monotonic() >= deadline:
            return
        time.sleep(pause_s)


@dataclass
class _Widths:
    """Of the columns of a listing; like Hadoop's they only ever grow, directory by directory."""

    owner: int = 0
    group: int = 0
    length: int = 10

    def grow(self, entries: Sequence[Entry]) -> None:
        """Make room for these entries."""
        self.owner = max(self.owner, *(len(entry.owner) for entry in entries))
        self.group = max(self.group, *(len(entry.group) for entry in entries))
        self.length = max(self.length, *(len(str(entry.length)) for entry in entries))


def listing(files: Store, path: str, widths: _Widths | None = None) -> Iterator[str]:
    """Write what ``hadoop fs -ls -R`` prints for a directory."""
    entries = files.list(path)
    if not entries:
        return
    widths = widths or _Widths()
    widths.grow(entries)
    for entry in entries:
        copies = "-" if entry.is_directory else str(entry.replication)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified / 1000))
        yield (
            f"{_mode(entry)} {copies:>3} {entry.owner:<{widths.owner}} {entry.group:<{widths.group}} "
            f"{entry.length:>{widths.length}} {when} {entry.path}"
        )
        if entry.is_directory:
            yield from listing(files, entry.path, widths)


def _mode(entry: Entry) -> str:
    bits = int(entry.permission, 8)
    letters = "".join(letter if bits >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx"))
    if bits & 0o1000:
        letters = letters[:-1] + ("t" if bits & 1 else "T")
    return ("d" if entry.is_directory else "-") + letters


def _lines(chunks: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Split what comes in chunks into lines, many at a time."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
    if rest:
        yield [rest]


def _gunzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decode concatenated gzip members, of which none is held as a whole."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for chunk in chunks:
        data = chunk
        while data:
            yield decoder.decompress(data, DECODED_BYTES)
            data = decoder.unconsumed_tail
            if decoder.eof:
                data = decoder.unused_data
                decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
