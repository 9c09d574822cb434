"""The uplink over TLS: what it says to a broker that proves who it is, and to one that does not."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from authority import Authority

from iot_gateway.amqp_connection import AmqpTlsOptions
from iot_gateway.shapes import Secret
from iot_gateway.uplinks.amqp import AmqpOptions, AmqpUplink


class Broker:
    """Takes what comes first over TLS, and hangs up."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self, authority: Authority) -> AsyncGenerator[None]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.served, authority.key)

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.heard.append(await reader.read(8))
            writer.close()

        server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()


async def said(broker: Broker, tls: AmqpTlsOptions) -> str:
    """Return why the uplink's first attempt ended."""
    options = AmqpOptions(host="127.0.0.1", port=broker.port, username="u", password=Secret("p"), tls=tls)
    uplink = AmqpUplink(options, "gw", ("telemetry", "dead-letters"))
    task = asyncio.create_task(uplink.run())
    try:
        async with asyncio.timeout(10):
            while (error := uplink.status()["error"]) is None:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return error


def attempt(authority: Authority, tls: AmqpTlsOptions) -> tuple[str, list[bytes]]:
    async def inside() -> tuple[str, list[bytes]]:
        broker = Broker()
        async with broker.serving(authority):
            return await said(broker, tls), broker.heard

    return asyncio.run(inside())


def test_amqp_begins_after_the_handshake(tmp_path: Path):
    authority = Authority(tmp_path, "authority", "127.0.0.1")
    _, heard = attempt(authority, AmqpTlsOptions(ca=authority.ca))
    assert heard == [b"AMQP\x00\x00\x09\x01"]


def test_the_certificate_may_be_for_another_name(tmp_path: Path):
    authority = Authority(tmp_path, "authority", "10.0.0.9")
    _, heard = attempt(authority, AmqpTlsOptions(ca=authority.ca, server_name="10.0.0.9"))
    assert heard == [b"AMQP\x00\x00\x09\x01"]


@pytest.mark.parametrize("fault", ["another authority", "another address"])
def test_a_broker_that_does_not_prove_who_it_is_hears_nothing(tmp_path: Path, fault: str):
    address = "10.0.0.9" if fault == "another address" else "127.0.0.1"
    authority = Authority(tmp_path, "authority", address)
    trusted = Authority(tmp_path, "other", address) if fault == "another authority" else authority
    error, heard = attempt(authority, AmqpTlsOptions(ca=trusted.ca))
    assert "certificate verify failed" in error
    assert heard == []


def test_an_authority_that_can_not_be_read_is_told(tmp_path: Path):
    authority = Authority(tmp_path, "authority", "127.0.0.1")
    error, heard = attempt(authority, AmqpTlsOptions(ca=tmp_path / "none.pem"))
    assert "none.pem: [Errno 2]" in error
    (tmp_path / "spoilt.pem").write_text("spoilt")
    error, heard = attempt(authority, AmqpTlsOptions(ca=tmp_path / "spoilt.pem"))
    assert f"TLS with {tmp_path}/spoilt.pem" in error
    assert heard == []
