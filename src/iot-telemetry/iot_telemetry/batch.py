"""A batch: many readings in one message, as newline-delimited JSON, whole or as one gzip member.

Members may be concatenated: what Flume appends to one file is one valid gzip file (RFC 1952, section 2.2) that
holds every line once.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from typing import Literal

from iot_telemetry.errors import MalformedBatchError

Encoding = Literal["gzip", "identity"]

CONTENT_TYPE = "application/x-ndjson"
GZIP_LEVEL = 1
"""Telemetry repeats itself so much that the cheapest level takes nine tenths away; see docs/adr/0103."""


def encode(lines: Iterable[bytes], encoding: Encoding) -> bytes:
    """Return the body of a batch of ``lines``, each one JSON object without a newline."""
    return encode_body(b"".join(part for line in lines for part in (line, b"\n")), encoding)


def encode_body(body: bytes, encoding: Encoding) -> bytes:
    """Encode lines that are joined already, every one with its newline."""
    if encoding == "identity":
        return body
    # mtime 0: the same readings always make the same bytes, so a batch that is sent again can be recognised.
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def decode(body: bytes, encoding: Encoding) -> Iterator[bytes]:
    """Iterate over the lines of a batch, or of many that were concatenated; blank lines are passed over.

    Raises:
        MalformedBatchError: the body is no (or no whole) gzip file.
    """
    if encoding == "gzip":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise MalformedBatchError(f"not a whole gzip body: {error}") from error
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        if end > start:
            yield body[start:end]
        start = end + 1
