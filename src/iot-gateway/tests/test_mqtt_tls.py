"""Certificates of the MQTT listener that are replaced while it serves."""

import asyncio
import shutil
import socket
import ssl
from pathlib import Path

import pytest
from authority import Authority
from listener_rig import free_port, until
from mqtt_rig import Rig, run

from iot_gateway.listeners.mqtt.tls import TlsOptions


class Files:
    """The gateway's certificate, by one authority after another."""

    def __init__(self, directory: Path):
        self.options = TlsOptions(port=free_port(), certificate=directory / "served.pem", key=directory / "served.key")
        self.former, self.new = (Authority(directory, name, "127.0.0.1") for name in ("former", "new"))
        self.serve(self.former)

    def serve(self, authority: Authority) -> None:
        shutil.copy(authority.served, self.options.certificate)
        shutil.copy(authority.key, self.options.key)

    async def is_shown(self, authority: Authority) -> bool:
        """Tell whether a new connection is shown a certificate of that authority."""
        context = ssl.create_default_context(cafile=str(authority.ca))
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.options.port, ssl=context)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True


async def shown(files: Files, authority: Authority) -> None:
    async with asyncio.timeout(5):
        while not await files.is_shown(authority):
            await asyncio.sleep(0.01)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_other_certificates_are_shown_and_connections_stay(tmp_path: Path, files: Files):
    async def test(rig: Rig) -> None:
        client = await rig.node()
        assert await files.is_shown(files.former)
        files.serve(files.new)
        assert rig.listener.configure(rig.listener.options)
        await shown(files, files.new)
        assert not await files.is_shown(files.former)
        client.send(b"\xc0\x00")
        assert await client.packet() == b"\xd0\x00"

    run(tmp_path, test, tls=files.options)


def test_a_certificate_that_is_half_written_is_tried_again(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("iot_gateway.backoff.Backoff.next", lambda _: 0.02)

    async def test(rig: Rig) -> None:
        shutil.copy(files.new.served, files.options.certificate)
        assert rig.listener.configure(rig.listener.options)
        await until(lambda: "the former certificate stays" in (rig.listener.status()["error"] or ""))
        assert await files.is_shown(files.former)
        files.serve(files.new)
        await until(lambda: rig.listener.status()["error"] is None)
        assert await files.is_shown(files.new)

    run(tmp_path, test, tls=files.options)
    assert "MQTT can't use its new certificate, again in 0.0 s" in caplog.text


def test_a_renewal_that_the_system_refuses_is_tried_again(
    tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("iot_gateway.backoff.Backoff.next", lambda _: 0.05)

    async def test(rig: Rig) -> None:
        files.serve(files.new)
        with monkeypatch.context() as short:

            def refuse(_: socket.socket) -> None:
                raise OSError(24, "Too many open files")

            short.setattr(socket.socket, "dup", refuse)
            assert rig.listener.configure(rig.listener.options)
            await until(lambda: "Too many open files" in (rig.listener.status()["error"] or ""))
        assert await files.is_shown(files.former), "who connects meanwhile is let in"
        await until(lambda: rig.listener.status()["error"] is None)
        assert await files.is_shown(files.new)
        rig.listener.quiesce()
        assert rig.listener.configure(rig.listener.options)
        former = rig.listener._ports._servers
        await until(lambda: rig.listener._ports._servers is not former)
        assert not any(server.is_serving() for server in rig.listener._ports._servers), "nobody is let in any more"

    run(tmp_path, test, tls=files.options)
    assert "Too many open files" in caplog.text
