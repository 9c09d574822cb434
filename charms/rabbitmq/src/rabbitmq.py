"""RabbitMQ on this machine: install, configure, start. Imports no ops and can be run by hand."""

import contextlib
import ipaddress
import json
import logging
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from charmlibs import systemd

from iot_charm.files import ensure_directory, ensure_file, remove
from iot_charm.packages import ensure_packages
from iot_charm.services import ensure_running, is_running
from management import Management, ManagementError, UnauthorizedError

logger = logging.getLogger(__name__)

PACKAGE = SERVICE = "rabbitmq-server"
AMQP_PORT: Final = 5672
AMQPS_PORT: Final = 5671
MANAGEMENT_PORT: Final = 15672
ADMIN: Final = "iot_admin"
"""The charm's own user. No relation can ask for it: the interface allows no underscore in a user's name."""

PLUGINS: Final = ("rabbitmq_amqp1_0", "rabbitmq_management")
"""AMQP 1.0 is spoken on the same ports as 0-9-1."""

LOG_DIRECTORY = Path("/var/log/rabbitmq")

_CONFIG = Path("/etc/rabbitmq")
_DROP_IN = Path("/etc/systemd/system/rabbitmq-server.service.d/iot.conf")
_EPMD_DROP_IN = Path("/etc/systemd/system/epmd.socket.d/iot.conf")
_MAX_MESSAGE_BYTES = 16 * 2**20
"""As RabbitMQ 4 has it: twice the largest batch of a gateway. A node must not fill its gateway's memory by a few."""
_START_TIMEOUT_S = 120.0

# The node's name holds its data's directory and must never change, which a host's name might. One node needs no other
# machine to reach it over Erlang's distribution, so that and its port mapper stay on the loopback interface.
_ENVIRONMENT = """\
# Written by the charm.
NODENAME=rabbit@localhost
SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
"""
_SERVICE_DROP_IN = """\
# Written by the charm.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=2
LimitNOFILE=65536
"""
_EPMD_SOCKET_DROP_IN = """\
# Written by the charm.
[Socket]
ListenStream=
ListenStream=127.0.0.1:4369
"""


_TLS = _CONFIG / "tls"
_CERTIFICATE, _KEY, _CA = _TLS / "cert.pem", _TLS / "key.pem", _TLS / "ca.pem"
_TLS_CONFIGURATION = (
    f"listeners.ssl.default = {AMQPS_PORT}",
    f"ssl_options.cacertfile = {_CA}",
    f"ssl_options.certfile = {_CERTIFICATE}",
    f"ssl_options.keyfile = {_KEY}",
    "ssl_options.versions.1 = tlsv1.3",
    "ssl_options.versions.2 = tlsv1.2",
    # Users prove who they are by their passwords.
    "ssl_options.verify = verify_none",
    "ssl_options.fail_if_no_peer_cert = false",
)


class RabbitmqError(Exception):
    """The broker could not be set up; the text says why."""


@dataclass(frozen=True)
class Settings:
    """What the configuration file depends on."""

    address: str
    """Address that clients and operators reach the broker at."""
    cluster_name: str
    memory_watermark: int
    """Bytes."""
    disk_free_limit: int
    """Bytes."""
    tls: bool = False
    """Whether the broker has a certificate (:func:`ensure_certificate`) and listens for TLS as well."""

    def render(self) -> str:
        """Write the configuration file (rabbitmq.conf, the sysctl-like format)."""
        address = ipaddress.ip_address(self.address)
        host = f"[{address}]" if address.version == 6 else str(address)
        return "\n".join(
            (
                "# Written by the charm.",
                f"cluster_name = {self.cluster_name}",
                f"listeners.tcp.loopback = 127.0.0.1:{AMQP_PORT}",
                *((f"listeners.tcp.network = {host}:{AMQP_PORT}",) if not address.is_loopback else ()),
                *(_TLS_CONFIGURATION if self.tls else ()),
                f"management.tcp.ip = {address}",
                f"management.tcp.port = {MANAGEMENT_PORT}",
                # Who speaks AMQP 1.0 without saying who it is, is nobody.
                "amqp1_0.default_user = none",
                f"max_message_size = {_MAX_MESSAGE_BYTES}",
                f"vm_memory_high_watermark.absolute = {self.memory_watermark}",
                f"disk_free_limit.absolute = {self.disk_free_limit}",
                # The write-ahead log of quorum queues is kept in memory as well until it is rolled over.
                f"raft.wal_max_size_bytes = {128 * 2**20}",
                "log.file.level = info",
                "",
            )
        )

    @property
    def management_url(self) -> str:
        """The management page."""
        address = ipaddress.ip_address(self.address)
        return f"http://{f'[{address}]' if address.version == 6 else address}:{MANAGEMENT_PORT}"


def install() -> bool:
    """Install the distribution's package, without letting it start a broker that is not configured yet.

    Returns:
        Whether anything was installed.

    Raises:
        apt.PackageError: the package can't be had.
    """
    ensure_directory(_EPMD_DROP_IN.parent)
    if ensure_file(_EPMD_DROP_IN, _EPMD_SOCKET_DROP_IN):
        systemd.daemon_reload()
    if (_CONFIG / "rabbitmq.conf").exists():
        return ensure_packages(PACKAGE)
    subprocess.run(["systemctl", "mask", SERVICE], check=True, capture_output=True)
    try:
        return ensure_packages(PACKAGE)
    finally:
        subprocess.run(["systemctl", "unmask", SERVICE], check=True, capture_output=True)


def configure(settings: Settings) -> None:
    """Write the configuration."""
    ensure_directory(_DROP_IN.parent)
    ensure_file(_DROP_IN, _SERVICE_DROP_IN)
    ensure_file(_CONFIG / "rabbitmq-env.conf", _ENVIRONMENT)
    ensure_file(_CONFIG / "enabled_plugins", f"[{','.join(PLUGINS)}].\n", owner="rabbitmq")
    ensure_file(_CONFIG / "rabbitmq.conf", settings.render(), mode=0o640, group="rabbitmq")


def ensure_certificate(certificate: str, key: str, ca: str) -> None:
    """Write the certificate, PEM, that the broker is to show; :func:`start` has it do so."""
    ensure_directory(_TLS)
    ensure_file(_KEY, key, mode=0o640, group="rabbitmq")
    ensure_file(_CERTIFICATE, certificate)
    ensure_file(_CA, ca)


def kept_ca() -> str:
    """Return the authority of the certificate that the broker has, PEM; empty without one."""
    return _CA.read_text() if _CA.exists() and _CERTIFICATE.exists() and _KEY.exists() else ""


def remove_certificate() -> None:
    """Remove certificate and key."""
    remove(_TLS)


def start(*, restart: bool) -> bool:
    """Have the broker running with its configuration, showing its certificate; over another one connections go on.

    Args:
        restart: start it anew in any case.

    Returns:
        Whether it was started or restarted, or shows another certificate.

    Raises:
        RabbitmqError: it does not start, or does not take the certificate.
    """
    names = ("rabbitmq-env.conf", "enabled_plugins", "rabbitmq.conf")
    origins = [_DROP_IN, *(_CONFIG / name for name in names)]
    try:
        return ensure_running(SERVICE, origins, rereads=[_TLS], reload=_forget_certificates, restart=restart)
    except systemd.SystemdError as error:
        raise RabbitmqError(f"RabbitMQ does not start, see {LOG_DIRECTORY}: {error}") from error


def _forget_certificates() -> None:
    # Erlang keeps files that it has read for minutes.
    _ctl("eval", "ssl:clear_pem_cache().")


def stop() -> None:
    """Stop the broker; its data stay."""
    with contextlib.suppress(systemd.SystemdError):
        systemd.service_stop(SERVICE)


def running() -> bool:
    """Tell whether the broker's service is active."""
    return is_running(SERVICE)


def connect(settings: Settings, password: str) -> Management:
    """Return the management API, for a user that :func:`ensure_admin` has made."""
    return Management(settings.management_url, ADMIN, password)


def ensure_admin(settings: Settings, password: str) -> bool:
    """Make the administrator with this password and remove the user ``guest`` that every broker is born with.

    Returns:
        Whether anything changed.

    Raises:
        RabbitmqError: the broker's command line tool failed.
        ManagementError: the management API does not come up.
    """
    if _is_admin(settings, password):
        return False
    users = {user["user"] for user in json.loads(_ctl("list_users", "--formatter", "json"))}
    if "guest" in users:
        _ctl("delete_user", "guest")
    # Without a password among its arguments, which every process on the machine could read, it reads standard input.
    _ctl("change_password" if ADMIN in users else "add_user", ADMIN, stdin=f"{password}\n")
    _ctl("set_user_tags", ADMIN, "administrator")
    logger.info("made the administrator %s", ADMIN)
    return True


def cluster_status() -> dict[str, Any]:
    """Return what ``rabbitmqctl cluster_status`` reports.

    Raises:
        RabbitmqError: the broker does not answer.
    """
    return json.loads(_ctl("cluster_status", "--formatter", "json"))


def _is_admin(settings: Settings, password: str) -> bool:
    """Ask the broker, waiting until it answers: the service is active a moment before its management API is."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            return connect(settings, password).whoami() == ADMIN
        except UnauthorizedError:
            return False
        except ManagementError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _ctl(*arguments: str, stdin: str | None = None) -> str:
    command = ["rabbitmqctl", "--silent", *arguments]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != 0:
        raise RabbitmqError(f"rabbitmqctl {arguments[0]} failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout
