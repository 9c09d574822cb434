"""Daemons as systemd services."""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from charmlibs import systemd

from iot_charm import progress
from iot_charm.files import ensure_file, remove

UNIT_DIRECTORY = Path("/etc/systemd/system")


def daemon_unit(
    description: str,
    command: Sequence[str],
    *,
    user: str,
    environment: Mapping[str, str] | None = None,
    after: Sequence[str] = (),
    directives: Mapping[str, str] | None = None,
) -> str:
    """Write the text of a unit for a daemon that stays in the foreground and logs to the journal.

    The daemon is restarted five seconds after a failure, as often as it takes.

    Args:
        description: shown by ``systemctl status``.
        command: program (an absolute path) and arguments.
        user: that it runs as.
        environment: variables; a value may hold spaces and quotes.
        after: further units to start after, if they are there.
        directives: further lines of the section Service, which win over those written here.
    """
    service = {
        "Type": "exec",
        "User": user,
        "Group": user,
        "ExecStart": " ".join(_quoted(word) for word in command),
        "Restart": "on-failure",
        "RestartSec": "5",
        # A JVM that was asked to stop (SIGTERM) ends with this status.
        "SuccessExitStatus": "143",
        "TimeoutStopSec": "90",
        "LimitNOFILE": "65536",
        **(directives or {}),
    }
    lines = [
        "[Unit]",
        f"Description={description}",
        f"After={' '.join(['network-online.target', *after])}",
        "Wants=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted((environment or {}).items())),
        *(f"{name}={value}" for name, value in service.items()),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def ensure_unit(name: str, text: str) -> bool:
    """Write the unit file of service ``name`` and have systemd read it, if it is new.

    Returns:
        Whether the file changed; the service then needs a restart to follow.
    """
    if not ensure_file(unit_file(name), text):
        return False
    systemd.daemon_reload()
    return True


def ensure_running(name: str, *, restart: bool) -> bool:
    """Have service ``name`` running, now and after a reboot.

    Args:
        name: of the service.
        restart: its configuration changed, so a running one must start anew.

    Returns:
        Whether it was started or restarted.

    Raises:
        systemd.SystemdError: it did not start.
    """
    running = systemd.service_running(name)
    if running and not restart:
        return False
    systemd.service_enable(name)
    if running:
        progress.announce(f"Restarting {name}")
        systemd.service_restart(name)
    else:
        progress.announce(f"Starting {name}")
        systemd.service_start(name)
    return True


def stop(name: str) -> None:
    """Stop service ``name`` and wait until its processes have gone; nothing happens where there is none.

    Raises:
        systemd.SystemdError: it did not stop.
    """
    if unit_file(name).exists() or systemd.service_running(name):
        systemd.service_stop(name)


def disable(name: str) -> None:
    """Stop service ``name``, keep it from starting again and remove its unit file, if it has one of ours."""
    stop(name)
    if unit_file(name).exists():
        systemd.service_disable(name)
        remove(unit_file(name))
        systemd.daemon_reload()


def is_running(name: str) -> bool:
    """Tell whether service ``name`` is active."""
    return systemd.service_running(name)


def wait_for_port(host: str, port: int, timeout_s: float) -> bool:
    """Wait until something accepts TCP connections at ``host:port``.

    Returns:
        Whether it did so within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            with socket.create_connection((host, port), timeout=max(0.1, min(2.0, left))):
                return True
        except OSError:
            if left <= 0:
                return False
            time.sleep(min(0.25, left))


def wait_until(condition: Callable[[], bool], timeout_s: float, *, interval_s: float = 0.5) -> bool:
    """Wait until ``condition()`` is true; it is asked at least once.

    Returns:
        Whether it became true within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() + interval_s > deadline:
            return False
        time.sleep(interval_s)
    return True


def unit_file(name: str) -> Path:
    """Return where the unit file of service ``name`` is, if it is one of ours."""
    return UNIT_DIRECTORY / f"{name.removesuffix('.service')}.service"


def _quoted(word: str) -> str:
    """Quote a word for a unit file (systemd.syntax(7), systemd.service(5): ``%`` and ``$`` are special)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if not word or any(character in word for character in " \t\"'\\;") else escaped
