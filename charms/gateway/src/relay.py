"""The relay daemon: its user, its configuration, its service."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charmlibs import systemd

import mosquitto
import tls_files
from iot_charm import services
from iot_charm.files import ensure_directory, ensure_file
from iot_charm.pending import is_pending, settle
from iot_charm.users import ensure_system_user
from iot_charm.workload import PYTHON, ensure_python_workload
from iot_gateway import control
from iot_gateway import status as relay_status
from iot_gateway.errors import ConfigError, NotRunningError
from iot_gateway.nodes import Node, credentials
from iot_gateway.nodes import file as nodes_file

logger = logging.getLogger(__name__)

SERVICE = "iot-gateway"
USER = "iot-gateway"
DIRECTORY = Path("/etc/iot-gateway")
CONFIGURATION = DIRECTORY / "config.toml"
SECRETS = DIRECTORY / "secrets.toml"
NODES = DIRECTORY / "nodes.json"
STAMP = DIRECTORY / ".followed"
STATE = Path("/var/lib/iot-gateway")
SOCKET = Path("/run/iot-gateway/status.sock")
CONTROL = Path("/run/iot-gateway/status-control.sock")
CODE = Path("/opt/iot-gateway")
LOOPBACK = "127.0.0.1"
RELATED_PROTOCOLS = frozenset({"mqtt"})
"""Of related units' nodes, which are given a password and no key."""


@dataclass(frozen=True)
class Listener:
    """Where nodes reach the relay."""

    address: str
    port: int
    """Without encryption; 0 for none."""
    topic_prefix: str
    commands_prefix: str = "commands"
    tls_port: int = 0
    """0 for none."""
    ca: str = ""
    """The authority of the certificate, PEM."""


@dataclass(frozen=True)
class Outbox:
    """How readings wait for RabbitMQ, and how they are sent when it is back."""

    max_bytes: int
    full: str
    max_age: int
    resend_order: str
    resend_rate: int


@dataclass(frozen=True)
class Tls:
    """The encrypted listener, PEM; see :mod:`iot_charm.tls`."""

    port: int
    certificate: str
    key: str = field(repr=False)
    ca: str
    """The authority of the certificate, for nodes to verify it with."""
    client_ca: str = ""
    """The authority of nodes' certificates; empty where they are not looked at."""
    client_certificates: str = "optional"


@dataclass(frozen=True)
class Coap:
    """The CoAP listener."""

    port: int
    allow_plain: bool
    lwm2m: bool


@dataclass(frozen=True)
class ZeroMq:
    """The listener for ZeroMQ."""

    pull_port: int
    """0 for none."""
    router_port: int
    """0 for none."""
    secret_key: str = field(repr=False)
    """In Z85."""


@dataclass(frozen=True)
class Settings:
    """What the relay's configuration depends on."""

    site: str
    gateway: str
    listener: Listener
    batch_size: int
    batch_age: int
    batch_encoding: str
    outbox: Outbox
    metrics_port: int
    """On the loopback; 0 for none."""
    log_level: str
    amqp_host: str
    amqp_port: int
    amqp_username: str
    vhost: str
    exchange: str
    dead_letter_exchange: str
    commands_queue: str = ""
    """Empty while RabbitMQ has none for this gateway."""
    tls: Tls | None = None
    coap: Coap | None = None
    zeromq: ZeroMq | None = None
    amqp_ca: str = ""
    """The authority of RabbitMQ's certificate, PEM; without it the uplink is not encrypted."""


@dataclass(frozen=True)
class Roster:
    """Who is let in."""

    passwords: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of related nodes, by name. Only hashes of them get onto the disk."""
    added: tuple[Node, ...] = ()
    """Nodes that an operator added, whose passwords nobody knows any more."""
    suspended: frozenset[str] = frozenset()
    """The names of related nodes that are not let in."""


def configuration(settings: Settings) -> str:
    """Return the configuration file; it holds no secret."""
    listener = settings.listener
    addresses = list(dict.fromkeys((LOOPBACK, listener.address)))
    return f"""# Written by the gateway charm; changes are overwritten.
site = {_quoted(settings.site)}
gateway = {_quoted(settings.gateway)}
log_level = {_quoted(settings.log_level)}
secrets_file = {_quoted(str(SECRETS))}
nodes_file = {_quoted(str(NODES))}
status_socket = {_quoted(str(SOCKET))}

[batch]
readings = {settings.batch_size}
age_ms = {settings.batch_age}
encoding = {_quoted(settings.batch_encoding)}

[outbox]
directory = {_quoted(str(STATE / "outbox"))}
max_bytes = {settings.outbox.max_bytes}
full = {_quoted(settings.outbox.full)}
max_age = {settings.outbox.max_age}

[resend]
order = {_quoted(settings.outbox.resend_order)}
rate = {settings.outbox.resend_rate}

[metrics]
port = {settings.metrics_port}

[listeners.mqtt]
addresses = {json.dumps(addresses)}
port = {listener.port}
broker = {_quoted(str(mosquitto.SOCKET))}
broker_user = {_quoted(mosquitto.RELAY_USER)}
topic_prefix = {_quoted(listener.topic_prefix)}
commands_prefix = {_quoted(listener.commands_prefix)}
max_packet_bytes = {mosquitto.MAX_PACKET_BYTES}
receive_maximum = {mosquitto.RECEIVE_MAXIMUM}
{_listener_tls(settings.tls)}{_coap(settings.coap, addresses)}{_zeromq(settings.zeromq, addresses)}
[uplink]
host = {_quoted(settings.amqp_host)}
port = {settings.amqp_port}
vhost = {_quoted(settings.vhost)}
username = {_quoted(settings.amqp_username)}
{_uplink_tls(settings)}commands_queue = {_quoted(settings.commands_queue)}

[uplink.exchanges]
telemetry = {_quoted(settings.exchange)}
dead-letters = {_quoted(settings.dead_letter_exchange)}
"""


def _listener_tls(tls: Tls | None) -> str:
    if tls is None:
        return ""
    options: dict[str, Any] = {
        "port": tls.port,
        "certificate": str(tls_files.DIRECTORY / tls_files.CERTIFICATE),
        "key": str(tls_files.DIRECTORY / tls_files.KEY),
    }
    if tls.client_ca:
        options["client_ca"] = str(tls_files.DIRECTORY / tls_files.CLIENT_CA)
        options["client_certificates"] = tls.client_certificates
    return _table("listeners.mqtt.tls", options)


def _coap(coap: Coap | None, addresses: list[str]) -> str:
    if coap is None:
        return ""
    options = {"addresses": addresses, "port": coap.port, "allow_plain": coap.allow_plain}
    return _table("listeners.coap", options) + (_table("listeners.coap.lwm2m", {}) if coap.lwm2m else "")


def _uplink_tls(settings: Settings) -> str:
    if not settings.amqp_ca:
        return ""
    return f"tls = {{ ca = {_quoted(str(tls_files.DIRECTORY / tls_files.BROKER_CA))} }}\n"


def _tls_files(settings: Settings) -> dict[str, str]:
    tls = settings.tls
    listener = (
        {
            tls_files.CERTIFICATE: tls.certificate,
            tls_files.KEY: tls.key,
            tls_files.LISTENER_CA: tls.ca,
            tls_files.CLIENT_CA: tls.client_ca,
        }
        if tls
        else {}
    )
    return {**listener, tls_files.BROKER_CA: settings.amqp_ca}


def _zeromq(zeromq: ZeroMq | None, addresses: list[str]) -> str:
    if zeromq is None:
        return ""
    options = {"addresses": addresses, "pull_port": zeromq.pull_port, "router_port": zeromq.router_port}
    return _table("listeners.zeromq", options)


def secrets_text(amqp_password: str, zeromq: ZeroMq | None = None) -> str:
    """Return the file of secrets."""
    key = f"\n[listeners.zeromq]\nsecret_key = {_quoted(zeromq.secret_key)}\n" if zeromq else ""
    return f"""[uplink]
password = {_quoted(amqp_password)}
{key}"""


def _table(name: str, options: Mapping[str, Any]) -> str:
    lines = ["", f"[{name}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in options.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(text, ensure_ascii=False)


def unit() -> str:
    """Return the systemd unit."""
    return services.daemon_unit(
        "Relay of the IoT gateway",
        [PYTHON, "-m", "iot_gateway", "run", "--config", str(CONFIGURATION)],
        user=USER,
        # Not the link: a daemon that imports late must find the code it was started from, and new code is a new unit.
        environment={"PYTHONPATH": str(CODE.resolve())},
        after=["mosquitto.service"],
        directives={
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "Restart": "always",
            "RestartSec": "2",
            "TimeoutStopSec": "30",
            "StateDirectory": "iot-gateway",
            "StateDirectoryMode": "0750",
            "RuntimeDirectory": "iot-gateway",
            "RuntimeDirectoryMode": "0750",
            "UMask": "0027",
            "NoNewPrivileges": "yes",
            "CapabilityBoundingSet": "",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "ProtectKernelTunables": "yes",
            "ProtectKernelModules": "yes",
            "ProtectControlGroups": "yes",
            "ProtectClock": "yes",
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
            "RestrictNamespaces": "yes",
            "RestrictRealtime": "yes",
            "RestrictSUIDSGID": "yes",
            "LockPersonality": "yes",
            "MemoryDenyWriteExecute": "yes",
            "SystemCallArchitectures": "native",
        },
    )


def install(charm_dir: Path) -> None:
    """Have the relay's user and its code on the machine.

    Args:
        charm_dir: the charm's folder, whose packages hold the relay.

    Raises:
        DistributionError: the charm holds no packages.
    """
    ensure_system_user(USER, home=STATE)
    ensure_python_workload(CODE.name, charm_dir, prefix=CODE.parent)


def ensure_nodes(roster: Roster) -> None:
    """Have these nodes, and no others, be let in; connections of those that stay as they are go on."""
    if _write_nodes(roster) and services.is_running(SERVICE):
        logger.info("the relay reads its nodes again")
        systemd.service_reload(SERVICE)


def _write_nodes(roster: Roster) -> bool:
    ensure_directory(DIRECTORY)
    try:
        known = nodes_file.read(NODES) if NODES.exists() else {}
    except ConfigError as error:
        logger.warning("the nodes are written anew: %s", error)
        known = {}
    nodes = [
        Node(name, _credential(password, known.get(name)), name not in roster.suspended, RELATED_PROTOCOLS)
        for name, password in roster.passwords.items()
    ]
    return ensure_file(NODES, nodes_file.text([*nodes, *roster.added]), mode=0o600, owner=USER, group=USER)


def _credential(password: str, known: Node | None) -> str:
    # A hash that fits stays: a fresh salt for each at each call would have the relay read them again for nothing.
    if known is not None and known.credential and credentials.fits(known.credential, password):
        return known.credential
    return credentials.make(password)


def node_states() -> dict[str, dict[str, Any]]:
    """Return what the relay knows of each node's coming and going (:meth:`iot_gateway.nodes.Presence.of`).

    Raises:
        NotRunningError: it does not run.
    """
    return control.ask(CONTROL, {"do": "node-states"})


def ensure_relay(settings: Settings, amqp_password: str, roster: Roster) -> bool:
    """Have the relay running, from the code that is installed, with this configuration.

    Args:
        settings: of the relay.
        amqp_password: for RabbitMQ.
        roster: who is let in.

    Returns:
        Whether it was started, restarted or given another configuration.

    Raises:
        systemd.SystemdError: the relay does not start.
    """
    changed = _write_nodes(roster)
    changed |= tls_files.ensure(_tls_files(settings), user=USER)
    changed |= ensure_file(SECRETS, secrets_text(amqp_password, settings.zeromq), mode=0o600, owner=USER, group=USER)
    changed |= ensure_file(CONFIGURATION, configuration(settings))
    changed |= is_pending(STAMP, CONFIGURATION, SECRETS, NODES, tls_files.DIRECTORY)
    restart = services.ensure_unit(SERVICE, unit()) or is_pending(STAMP, services.unit_file(SERVICE))
    started = services.ensure_running(SERVICE, restart=restart)
    if changed and not started:
        logger.info("the relay reads its configuration again")
        systemd.service_reload(SERVICE)
    settle(STAMP)
    return started or changed


def wait_until_connected(timeout_s: float) -> bool:
    """Wait until the relay is connected at both ends; return whether it is."""

    def connected() -> bool:
        try:
            seen = status()
        except NotRunningError:
            return False
        return seen["listeners"]["mqtt"]["connected"] and seen["uplink"]["connected"]

    return services.wait_until(connected, timeout_s)


def is_installed() -> bool:
    """Tell whether the relay was set up."""
    return CONFIGURATION.exists()


def status() -> dict[str, Any]:
    """Return the relay's status.

    Raises:
        NotRunningError: it does not run.
    """
    return relay_status.ask(SOCKET)


def ask(what: str, **fields: Any) -> Any:
    """Ask the relay to do something (:mod:`iot_gateway.control`), and return its result.

    Raises:
        NotRunningError: it does not run.
        RequestRefusedError: it refuses; the text says why.
    """
    return control.ask(CONTROL, {"do": what, **fields})


def plan_buffer() -> dict[str, Any]:
    """Return how long RabbitMQ can be out of reach, as the relay reckons it.

    Raises:
        NotRunningError: it does not run.
    """
    return control.ask(CONTROL, {"do": "plan-buffer"})


def stop() -> None:
    """Stop the relay; what it holds stays on disk."""
    services.stop(SERVICE)


def remove() -> None:
    """Stop the relay for good; what it holds stays on disk."""
    services.disable(SERVICE)
