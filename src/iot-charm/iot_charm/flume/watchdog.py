"""``python3 -m iot_charm.flume.watchdog``: restarts an agent whose JMS sources have given up; runs beside the agent.

RabbitMQ's client reconnects a source that had a connection. A source that could not connect when the agent started is
given up by Flume for good, while the agent runs on. The watchdog counts the agent's connections to the broker. If
some are missing for a while although the broker accepts connections, it has systemd restart the agent, which loses
nothing: what a source had not acknowledged is in the queue, the rest in the channel.
"""

import argparse
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

logger = logging.getLogger(__name__)

Address = tuple[str, int]


@dataclass
class Patience:
    """Decides when to restart.

    Args:
        wanted: connections that a healthy agent has.
        grace_s: how long some may be missing while the broker accepts connections.
    """

    wanted: int
    grace_s: float
    _missing_since: float | None = None

    def is_over(self, connections: int, *, running: bool, accepting: bool, now: float) -> bool:
        """Take what was found at the time ``now`` (s); returns whether to restart the agent."""
        if connections >= self.wanted or not running or not accepting:
            self._missing_since = None
            return False
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since < self.grace_s:
            return False
        self._missing_since = None
        return True


def connections(pid: int, addresses: Sequence[Address]) -> int:
    """Count the established TCP connections of a process to any of these addresses."""
    ends = {(ip, port) for host, port in addresses for ip in _ips(host)}
    try:
        found = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return 0
    return sum(
        1
        for connection in found
        if connection.status == psutil.CONN_ESTABLISHED
        and connection.raddr
        # A JVM's sockets are IPv6 ones, also to an IPv4 address.
        and (connection.raddr.ip.removeprefix("::ffff:"), connection.raddr.port) in ends
    )


def main_pid(service: str) -> int:
    """Return the process of a service; 0 if it does not run."""
    command = ["systemctl", "show", "--property=MainPID", "--value", f"{service}.service"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout or 0)


def is_accepting(addresses: Sequence[Address]) -> bool:
    """Tell whether any of these addresses accepts connections."""
    for address in addresses:
        try:
            with socket.create_connection(address, timeout=5):
                return True
        except OSError:
            continue
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch until it is ended."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout, force=True)
    patience = Patience(options.connections, options.grace)
    while True:
        pid = main_pid(options.service)
        found = connections(pid, options.broker) if pid else 0
        enough = found >= options.connections
        if patience.is_over(
            found, running=pid != 0, accepting=enough or is_accepting(options.broker), now=time.monotonic()
        ):
            logger.warning(
                "%d of %d connections to the broker for %.0f s: restarting %s",
                found,
                options.connections,
                options.grace,
                options.service,
            )
            subprocess.run(["systemctl", "restart", f"{options.service}.service"], check=False)
        time.sleep(options.interval)


def _ips(host: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Restart a Flume agent whose JMS sources have given up.")
    parser.add_argument("--service", required=True, help="the agent's systemd service")
    parser.add_argument("--broker", required=True, action="append", type=_address, metavar="HOST:PORT")
    parser.add_argument("--connections", required=True, type=int, help="that a healthy agent has to the broker")
    parser.add_argument("--grace", type=float, default=30, metavar="S", help="how long some may be missing")
    parser.add_argument("--interval", type=float, default=5, metavar="S", help="between two looks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
