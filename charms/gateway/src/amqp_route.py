"""The way of nodes that speak AMQP to RabbitMQ: ports of this machine that systemd's own proxy leads on to it.

A route is a socket unit, which listens, and a service of systemd-socket-proxyd(8), which systemd starts with the first
connection. The proxy hands on what it gets, byte by byte: what is said is between the node and RabbitMQ, and so is TLS.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from charmlibs import systemd

from iot_charm import services
from iot_charm.files import ensure_file, remove

logger = logging.getLogger(__name__)

PLAIN, TLS = "iot-gateway-amqp", "iot-gateway-amqps"
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
MAX_CONNECTIONS = 10_000
_FILES = 6 * MAX_CONNECTIONS + 256
"""The proxy opens two sockets a connection, and a pipe, of two ends, for either direction."""


@dataclass(frozen=True)
class Route:
    """A port, and where it leads."""

    name: str
    """PLAIN or TLS."""
    addresses: tuple[str, ...]
    """Of this machine, IPv4 or IPv6."""
    port: int
    broker: str
    """Host name or address."""
    broker_port: int


def socket_unit(route: Route) -> str:
    """Return the unit that listens."""
    listening = "\n".join(f"ListenStream={_bracketed(address)}:{route.port}" for address in route.addresses)
    return f"""[Unit]
Description=AMQP of the IoT gateway's nodes, port {route.port}

[Socket]
{listening}
# It may start before the machine has its addresses.
FreeBind=yes
NoDelay=yes
# A node that lost its power without a word is let go, where RabbitMQ does not do so first.
KeepAlive=yes

[Install]
WantedBy=sockets.target
"""


def service_unit(route: Route) -> str:
    """Return the unit that leads connections on."""
    return f"""[Unit]
Description=AMQP of the IoT gateway's nodes, to RabbitMQ at {route.broker}
Requires={route.name}.socket
After={route.name}.socket network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={PROXY} --connections-max={MAX_CONNECTIONS} {route.broker}:{route.broker_port}
LimitNOFILE={_FILES}
DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""


def ensure_routes(routes: Iterable[Route]) -> None:
    """Have these routes and no others; a connection goes on unless its route changes.

    A port that can't be listened on is tried again at the next call; :func:`is_open` tells of it.
    """
    wanted = {route.name: route for route in routes}
    for name in (PLAIN, TLS):
        if route := wanted.get(name):
            _ensure(route)
        else:
            _remove(name)


def _ensure(route: Route) -> None:
    socket, service = _units(route.name)
    ensure_file(socket, socket_unit(route))
    ensure_file(service, service_unit(route))
    if not services.is_current(socket.name, [service]):
        # A socket can't be opened anew while its service has it; connections come again.
        systemd.service_stop(socket.name, service.name)
    try:
        if services.ensure_running(socket.name, [service]):
            logger.info("port %d leads to RabbitMQ at %s:%d", route.port, route.broker, route.broker_port)
    except systemd.SystemdError as error:
        logger.warning("port %d can't be listened on: %s", route.port, error)


def _remove(name: str) -> None:
    socket, service = _units(name)
    if socket.exists():
        systemd.service_stop(socket.name, service.name)
        remove(service)
        services.disable(socket.name)
        logger.info("%s is closed", socket.name)


def is_open(name: str) -> bool:
    """Tell whether a route's port is listened on."""
    return services.is_running(f"{name}.socket")


def stop() -> None:
    """Close the ports, and end the connections, until :func:`ensure_routes`."""
    for name in (PLAIN, TLS):
        socket, service = _units(name)
        if socket.exists():
            systemd.service_stop(socket.name, service.name)


def _units(name: str) -> tuple[Path, Path]:
    """Return the files of a route's socket and service."""
    return services.unit_file(f"{name}.socket"), services.unit_file(name)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
