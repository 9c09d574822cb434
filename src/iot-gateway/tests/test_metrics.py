"""Metrics as Prometheus' own parser reads them, and the endpoint that serves them."""

import asyncio
import contextlib
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iot_gateway import scrape
from iot_gateway.exposition import Exposition
from iot_gateway.histogram import Histogram
from iot_gateway.scrape import Scrape


def test_what_is_written_is_read_as_it_was():
    made = Exposition()
    odd = 'a "quoted"\\ name\nof two lines'
    made.family("things_total", "counter", "Things, \\ and\nmore.").add(3, name=odd)
    made.single("level", "gauge", "A level.", 0.25)
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    made.family("wait_seconds", "histogram", "Waits.").add_histogram(histogram, lane="x")
    found = {family.name: family for family in text_string_to_metric_families(made.text())}
    assert found["things"].type == "counter"
    assert found["things"].documentation == "Things, \\ and\nmore."
    (sample,) = found["things"].samples
    assert (sample.name, sample.labels, sample.value) == ("things_total", {"name": odd}, 3.0)
    assert [sample.value for sample in found["level"].samples] == [0.25]
    assert found["wait_seconds"].type == "histogram"
    samples = [(sample.name, sample.labels.get("le"), sample.value) for sample in found["wait_seconds"].samples]
    assert samples == [
        ("wait_seconds_bucket", "0.1", 2.0),
        ("wait_seconds_bucket", "1", 3.0),
        ("wait_seconds_bucket", "+Inf", 4.0),
        ("wait_seconds_sum", None, 7.65),
        ("wait_seconds_count", None, 4.0),
    ]


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def serving(port: int) -> asyncio.Task[None]:
    task = asyncio.create_task(Scrape("127.0.0.1", port, lambda: "x 1\n").run())
    async with asyncio.timeout(5):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
            except ConnectionError:
                await asyncio.sleep(0.01)
            else:
                return task


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_endpoint_serves_metrics_and_nothing_else(port: int):
    task = await serving(port)
    answer = await ask(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert b"Content-Length: 4" in head
    assert body == b"x 1\n"
    head_only = await ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert head_only == head + b"\r\n\r\n"
    assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert (await ask(port, b"\xff\x00\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    await end(task)


async def test_who_sends_without_an_end_or_dawdles_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scrape, "TIMEOUT", 0.05)
    task = await serving(port)
    assert await ask(port, b"GET /metrics") == b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * 100_000)
    with contextlib.suppress(ConnectionResetError):  # if it is let go before all of it was read
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert (await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(b"x 1\n")
    await end(task)


async def test_a_port_in_use_is_tried_again(port: int, caplog: pytest.LogCaptureFixture):
    with socket.create_server(("127.0.0.1", port)):
        task = asyncio.create_task(Scrape("127.0.0.1", port, lambda: "x 1\n").run())
        async with asyncio.timeout(5):
            while "metrics can't be served" not in caplog.text:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        while True:
            try:
                answer = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
    assert answer.endswith(b"x 1\n")
    await end(task)
