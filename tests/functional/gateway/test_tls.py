"""TLS at the relay's listener: passwords over it, client certificates, and a certificate that is renewed."""

import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from daemons import free_port, needed, wait_until
from relay_rig import NODE, NODE_PASSWORD, Rig


class Authority:
    """A certificate authority in a directory, by OpenSSL's own program."""

    def __init__(self, directory: Path, name: str):
        self.directory = directory
        self.name = name
        directory.mkdir(exist_ok=True)
        key, certificate = directory / f"{name}.key", directory / f"{name}.pem"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                  "-subj", f"/CN={name}", "-keyout", key, "-out", certificate)  # fmt: skip
        self.certificate = certificate

    def _run(self, *arguments: Any) -> None:
        subprocess.run([needed("openssl", "openssl"), *arguments], check=True, capture_output=True, timeout=30)

    def issue(self, common_name: str) -> tuple[Path, Path]:
        """Return certificate and key of a name."""
        base = self.directory / f"{self.name}-{common_name}"
        key, request, made = base.with_suffix(".key"), base.with_suffix(".csr"), base.with_suffix(".pem")
        extensions = base.with_suffix(".ext")
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-subj", f"/O=nodes/CN={common_name}", "-keyout", key, "-out", request)  # fmt: skip
        self._run("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey",
                  self.directory / f"{self.name}.key", "-CAcreateserial", "-days", "2", "-extfile", extensions,
                  "-out", made)  # fmt: skip
        return made, key


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority", "authority")


def secure(rig: Rig, authority: Authority, port: int, more: str = "") -> str:
    certificate, key = authority.issue("gateway")
    served = rig.directory / "served.pem", rig.directory / "served.key"
    for source, target in zip((certificate, key), served, strict=True):
        target.write_bytes(source.read_bytes())
    return f'[listeners.mqtt.tls]\nport = {port}\ncertificate = "{served[0]}"\nkey = "{served[1]}"\n{more}\n'


class SecureClient:
    """A paho client over TLS."""

    def __init__(
        self,
        port: int,
        authority: Authority,
        *,
        user: str | None = NODE,
        password: str | None = NODE_PASSWORD,
        certificate: tuple[Path, Path] | None = None,
    ):
        self.answers: list[Any] = []
        self.lost = False
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if user:
            self.client.username_pw_set(user, password)
        files = {"certfile": str(certificate[0]), "keyfile": str(certificate[1])} if certificate else {}
        self.client.tls_set(ca_certs=str(authority.certificate), **files)
        self.client.on_connect = lambda _client, _data, _flags, reason, _properties: self.answers.append(reason)
        self.client.on_disconnect = self._on_disconnect
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: bool(self.answers) or self.lost, 10, "an answer")

    def _on_disconnect(self, *_: Any) -> None:
        self.lost = True

    @property
    def accepted(self) -> bool:
        return bool(self.answers) and not self.answers[0].is_failure

    def send(self, number: int) -> None:
        payload = b'[{"n":"node-1/t","v":1,"seq":%d}]' % number
        self.client.publish(f"telemetry/{NODE}", payload, qos=1).wait_for_publish(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def started(make_rig: Callable[..., Rig], authority: Authority, port: int, more: str = "") -> Rig:
    rig = make_rig()
    rig.settings["tls"] = secure(rig, authority, port, more)
    rig.relay.configure(rig.text())
    rig.relay.start()
    rig.wait_for(lambda s: s["listeners"]["mqtt"]["connected"] and s["uplink"]["connected"], "a connected relay")
    return rig


def test_readings_over_tls_and_a_renewed_certificate(make_rig: Callable[..., Rig], authority: Authority):
    port = free_port()
    rig = started(make_rig, authority, port)
    first = SecureClient(port, authority)
    assert first.accepted
    first.send(0)
    other = Authority(authority.directory, "other")
    rig.settings["tls"] = secure(rig, other, port)
    rig.reload(rig.text())
    wait_until(lambda: trusts(port, other), 10, "the new certificate")
    first.send(1)
    assert not first.lost
    assert not trusts(port, authority)
    (rig.directory / "served.pem").write_text("spoilt")
    rig.relay.signal(signal.SIGHUP)
    rig.wait_for(lambda _: "the former certificate stays" in rig.relay.log.read_text(), "the fault told")
    again = SecureClient(port, other)
    again.send(2)
    rig.wait_for(lambda status: status["confirmed"] == 3, "the readings confirmed")
    again.close()
    first.close()


def trusts(port: int, authority: Authority, **bounds: ssl.TLSVersion) -> bool:
    """Tell whether a client that knows this authority gets through the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    for name, version in bounds.items():
        setattr(context, name, version)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        try:
            context.wrap_socket(link, server_hostname="127.0.0.1").close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_versions_of_tls_are_refused(make_rig: Callable[..., Rig], authority: Authority):
    port = free_port()
    started(make_rig, authority, port)
    old, new = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
    assert trusts(port, authority, maximum_version=new)
    assert not trusts(port, authority, minimum_version=old, maximum_version=old)


def test_a_client_certificate_is_a_node(make_rig: Callable[..., Rig], authority: Authority):
    port = free_port()
    rig = started(make_rig, authority, port, f'client_ca = "{authority.certificate}"')
    certificate = authority.issue(NODE)
    nodes = [
        SecureClient(port, authority, user=None, certificate=certificate),
        SecureClient(port, authority, user=NODE, password=None, certificate=certificate),
        SecureClient(port, authority),
    ]
    assert [node.accepted for node in nodes] == [True, True, True]
    nodes[0].send(0)
    refused = [
        SecureClient(port, authority, user="node-2", password="password-2", certificate=certificate),
        SecureClient(port, authority, user=None, certificate=authority.issue("nobody")),
        SecureClient(port, authority, user=None),
    ]
    assert [node.accepted for node in refused] == [False, False, False]
    stranger = Authority(authority.directory, "stranger")
    assert not connects(port, authority, stranger.issue(NODE))
    rig.wait_for(lambda status: status["confirmed"] == 1, "the reading confirmed")
    for node in nodes + refused:
        node.close()


def connects(port: int, authority: Authority, certificate: tuple[Path, Path] | None) -> bool:
    try:
        client = SecureClient(port, authority, certificate=certificate)
    except (ssl.SSLError, ConnectionError):
        return False
    client.close()
    return client.accepted


def test_a_client_certificate_can_be_required(make_rig: Callable[..., Rig], authority: Authority):
    port = free_port()
    more = f'client_ca = "{authority.certificate}"\nclient_certificates = "required"'
    started(make_rig, authority, port, more)
    assert connects(port, authority, authority.issue(NODE))
    assert not connects(port, authority, None)
