"""The link over TLS: to a gateway that proves who it is, and to none else."""

import contextlib
import dataclasses
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from charmlibs.interfaces.tls_certificates import Certificate, CertificateRequestAttributes, PrivateKey

from iot_node.config import Config, Credentials
from iot_node.errors import ConfigError
from iot_node.link import Link
from iot_node.tls import Tls, describe

DAY = timedelta(days=1)
CONNACK = bytes([0x20, 3, 0, 0, 0])


class Authority:
    def __init__(self, directory: Path, name: str):
        self._directory, self._name, self._key = directory, name, PrivateKey.generate()
        request = CertificateRequestAttributes(name, is_ca=True)
        self._certificate = Certificate.generate_self_signed_ca(request, self._key, DAY)
        self.ca = directory / f"{name}.ca"
        self.ca.write_text(str(self._certificate))

    def issue(self, common_name: str, address: str) -> tuple[Path, Path]:
        key = PrivateKey.generate()
        request = CertificateRequestAttributes(common_name, sans_ip=[address]).generate_csr(key)
        files = [self._directory / f"{self._name}-{common_name}-{address}.{kind}" for kind in ("pem", "key")]
        files[0].write_text(str(request.sign(self._certificate, self._key, DAY, is_ca=False)))
        files[1].write_text(str(key))
        return files[0], files[1]


class TlsGateway:
    """Lets one client in, and notes what its certificate is for and how it begins to speak."""

    def __init__(self, served: tuple[Path, Path], nodes_ca: Path | None = None):
        self.heard: queue.Queue[bytes] = queue.Queue()
        self.subject: object = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*served)
        if nodes_ca is not None:
            self._context.load_verify_locations(nodes_ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._server.accept()
            with client, self._context.wrap_socket(client, server_side=True) as secured:
                certificate = secured.getpeercert()
                self.subject = certificate.get("subject") if certificate else None
                self.heard.put(secured.recv(1024))
                secured.sendall(CONNACK)
                secured.recv(1024)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


Connect = Callable[..., AbstractContextManager[tuple[TlsGateway, Link]]]


@pytest.fixture
def connecting(config: Config) -> Connect:
    """Gives a link that connects to a gateway with a certificate."""

    @contextlib.contextmanager
    def connect(served: tuple[Path, Path], tls: Tls, nodes_ca: Path | None = None) -> Iterator[tuple[TlsGateway, Link]]:
        gateway = TlsGateway(served, nodes_ca)
        where = dataclasses.replace(config.gateway, port=gateway.port, tls=tls)
        link = Link(where, Credentials("node-1", "hunter2"), "node-1", "telemetry/node-1")
        try:
            with link:
                yield gateway, link
        finally:
            gateway.close()

    return connect


def test_it_speaks_to_a_gateway_that_proves_who_it_is(connecting: Connect, authority: Authority):
    with connecting(authority.issue("gateway", "127.0.0.1"), Tls(authority.ca)) as (gateway, link):
        assert b"hunter2" in gateway.heard.get(timeout=10)
        link.outcomes(10)
        assert link.connected


def test_it_shows_its_own_certificate(connecting: Connect, authority: Authority, tmp_path: Path):
    nodes = Authority(tmp_path, "nodes")
    tls = Tls(authority.ca, *nodes.issue("node-1", "10.0.0.9"))
    with connecting(authority.issue("gateway", "127.0.0.1"), tls, nodes.ca) as (gateway, _):
        gateway.heard.get(timeout=10)
        assert (("commonName", "node-1"),) in gateway.subject  # pyright: ignore[reportOperatorIssue]


# Paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", ["another authority", "another address"])
def test_it_tells_no_password_to_another(connecting: Connect, authority: Authority, tmp_path: Path, fault: str):
    served = authority.issue("gateway", "10.0.0.9" if fault == "another address" else "127.0.0.1")
    trusted = Authority(tmp_path, "other") if fault == "another authority" else authority
    with connecting(served, Tls(trusted.ca)) as (gateway, link):
        for _ in range(100):
            if link.problem != "not connected yet":
                break
            link.outcomes(0.1)
        assert "can't be reached: it does not prove who it is:" in link.problem
        assert not link.connected
        assert gateway.heard.empty()


def test_files_that_can_not_be_used_are_named(authority: Authority, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.pem: \[Errno 2\]"):
        Tls(tmp_path / "none.pem").context()
    certificate, _ = authority.issue("node-1", "10.0.0.9")
    _, other_key = authority.issue("node-2", "10.0.0.9")
    with pytest.raises(ConfigError, match=r"TLS with .*authority\.ca, .*mismatch"):
        Tls(authority.ca, certificate, other_key).context()


def test_what_is_known_of_a_failure():
    assert describe(None) == describe(OSError()) == ""
    assert describe(OSError(111, "refused")) == ": [Errno 111] refused"


def test_the_files_come_from_the_configuration(config_file: Path):
    assert Config.read(config_file).gateway.tls is None
    text = config_file.read_text()
    config_file.write_text(f'{text}\nca_file = "/ca"\ncertificate_file = "/cert"\nkey_file = "/key"\n')
    assert Config.read(config_file).gateway.tls == Tls(Path("/ca"), Path("/cert"), Path("/key"))
    for lines in ('certificate_file = "/cert"\nca_file = "/ca"', 'certificate_file = "/cert"\nkey_file = "/key"'):
        config_file.write_text(f"{text}\n{lines}\n")
        with pytest.raises(ConfigError, match="need each other"):
            Config.read(config_file)
