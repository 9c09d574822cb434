"""Batches of lines."""

import gzip

import pytest

from iot_telemetry import MalformedBatchError, batch

LINES = [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_lines_come_back(encoding: batch.Encoding):
    assert list(batch.decode(batch.encode(LINES, encoding), encoding)) == LINES


def test_identity_is_newline_delimited_with_a_newline_at_the_end():
    assert batch.encode(iter(LINES), "identity") == b'{"a":1}\n{"b":2}\n'


def test_bodies_can_be_concatenated_as_flume_does():
    body = batch.encode(LINES, "gzip") + batch.encode([b'{"c":3}'], "gzip")
    assert gzip.decompress(body) == b'{"a":1}\n{"b":2}\n{"c":3}\n'
    assert len(list(batch.decode(body, "gzip"))) == 3


def test_the_same_lines_make_the_same_bytes():
    assert batch.encode(LINES, "gzip") == batch.encode(LINES, "gzip")


def test_an_empty_batch_and_a_last_line_without_newline():
    assert list(batch.decode(batch.encode([], "gzip"), "gzip")) == []
    assert list(batch.decode(b"a\n\nb", "identity")) == [b"a", b"b"]


@pytest.mark.parametrize("body", [b"plain text", batch.encode(LINES, "gzip")[:-9], batch.encode(LINES, "gzip")[:15]])
def test_a_body_that_is_not_whole_is_refused(body: bytes):
    with pytest.raises(MalformedBatchError):
        list(batch.decode(body, "gzip"))
