"""The relay daemon: its user, its configuration, its service."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import relay_settings
import tls_files
from iot_charm import services
from iot_charm.files import ensure_directory, ensure_file
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
CONFIGURATION = relay_settings.DIRECTORY / "config.toml"
CONTROL = Path("/run/iot-gateway/status-control.sock")
CODE = Path("/opt/iot-gateway")
RELATED_PROTOCOLS = frozenset({"mqtt"})
"""Of related units' nodes, which are given a password and no key."""


@dataclass(frozen=True)
class Roster:
    """Who is let in."""

    passwords: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of related nodes, by name. Only hashes of them get onto the disk."""
    added: tuple[Node, ...] = ()
    """Nodes that an operator added, whose passwords nobody knows any more."""
    suspended: frozenset[str] = frozenset()
    """The names of related nodes that are not let in."""


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
    ensure_system_user(USER, home=relay_settings.STATE)
    ensure_python_workload(CODE.name, charm_dir, prefix=CODE.parent)


def ensure_nodes(roster: Roster) -> None:
    """Have these nodes, and no others, be let in; connections of those that stay as they are go on."""
    _write_nodes(roster)
    if services.is_running(SERVICE):
        _ensure_running()


def _write_nodes(roster: Roster) -> None:
    ensure_directory(relay_settings.DIRECTORY)
    try:
        known = nodes_file.read(relay_settings.NODES) if relay_settings.NODES.exists() else {}
    except ConfigError as error:
        logger.warning("the nodes are written anew: %s", error)
        known = {}
    nodes = [
        Node(name, _credential(password, known.get(name)), name not in roster.suspended, RELATED_PROTOCOLS)
        for name, password in roster.passwords.items()
    ]
    ensure_file(relay_settings.NODES, nodes_file.text([*nodes, *roster.added]), mode=0o600, owner=USER, group=USER)


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


def ensure_relay(settings: relay_settings.Settings, amqp_password: str, roster: Roster) -> bool:
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
    _write_nodes(roster)
    tls_files.ensure(_tls_files(settings), user=USER)
    ensure_file(
        relay_settings.SECRETS,
        relay_settings.secrets_text(settings, amqp_password),
        mode=0o600,
        owner=USER,
        group=USER,
    )
    ensure_file(CONFIGURATION, relay_settings.configuration(settings))
    services.ensure_unit(SERVICE, unit())
    return _ensure_running()


def _ensure_running() -> bool:
    return services.ensure_running(
        SERVICE, rereads=[CONFIGURATION, relay_settings.SECRETS, relay_settings.NODES, tls_files.DIRECTORY]
    )


def _tls_files(settings: relay_settings.Settings) -> dict[str, str]:
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
    return relay_status.ask(relay_settings.SOCKET)


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
