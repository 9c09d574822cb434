"""Daemons as systemd services.

A hook can end anywhere: between the file that it writes and the restart that makes a daemon follow it, when the machine
loses power or the unit's agent is replaced, and the hook that comes after finds nothing to write. So what a service was
started from is kept as a digest, its stamp, and compared with what is on the disk (:func:`ensure_running`).
"""

import functools
import hashlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from charmlibs import systemd

from iot_charm import progress
from iot_charm.files import ensure_directory, ensure_file, remove

logger = logging.getLogger(__name__)

UNIT_DIRECTORY = Path("/etc/systemd/system")
STARTED_FROM = Path("/var/lib/iot-charm/started-from")
"""The stamps, one a service."""

Origin = Path | str
"""Something that a service is started from: a text as it is, a file by its content, a directory by the files below it,
and a symbolic link by where it leads, since each build of a software is installed under a name of its own."""


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


def ensure_unit(name: str, text: str) -> None:
    """Write the unit file of service ``name``; :func:`ensure_running` has systemd read it and the service follow."""
    ensure_file(unit_file(name), text)


def ensure_running(
    name: str,
    origins: Iterable[Origin] = (),
    *,
    rereads: Iterable[Path] = (),
    reload: Callable[[], object] | None = None,
    restart: bool = False,
) -> bool:
    """Have service ``name`` running, now and after a reboot, from what is there now.

    A running one is restarted if what it was started from differs, and reloaded if only what it reads again does.

    Args:
        name: of the service.
        origins: what it is started from, beside its unit file.
        rereads: files and directories that it reads again at a reload.
        reload: has it do so; by default systemd's reload.
        restart: start it anew in any case.

    Returns:
        Whether it was started, restarted or reloaded.

    Raises:
        systemd.SystemdError: it did not start, or not reload.
    """
    wanted = {"origins": _origins_digest(name, origins), "rereads": _digest(rereads)}
    followed = _stamp(name)
    running = systemd.service_running(name)
    if running and followed == wanted and not restart:
        return False
    if running and followed.get("origins") == wanted["origins"] and not restart:
        logger.info("%s reads its configuration again", name)
        (reload or functools.partial(systemd.service_reload, name))()
    else:
        # Here and not with the unit file: that may be an earlier hook's.
        systemd.daemon_reload()
        systemd.service_enable(name)
        progress.announce(f"{'Restarting' if running else 'Starting'} {name}")
        (systemd.service_restart if running else systemd.service_start)(name)
    # Digests of files with passwords, too, are nobody's business.
    ensure_directory(STARTED_FROM, mode=0o700)
    ensure_file(STARTED_FROM / name, json.dumps(wanted), mode=0o600)
    return True


def is_current(name: str, origins: Iterable[Origin] = ()) -> bool:
    """Tell whether service ``name`` was last started from what is there now (:func:`ensure_running`)."""
    return _stamp(name).get("origins") == _origins_digest(name, origins)


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
    remove(STARTED_FROM / name)
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
    """Return where the unit file of service (or socket) ``name`` is, if it is one of ours."""
    return UNIT_DIRECTORY / (name if name.endswith((".service", ".socket")) else f"{name}.service")


def _stamp(name: str) -> dict[str, str]:
    path = STARTED_FROM / name
    return json.loads(path.read_text()) if path.exists() else {}


def _origins_digest(name: str, origins: Iterable[Origin]) -> str:
    return _digest([unit_file(name), *origins])


def _digest(origins: Iterable[Origin]) -> str:
    digest = hashlib.sha256()
    for origin in origins:
        # Each part with its length, so that nothing can move from one part to the next.
        for part in _parts(origin):
            digest.update(len(part).to_bytes(8))
            digest.update(part)
    return digest.hexdigest()


def _parts(origin: Origin) -> list[bytes]:
    if isinstance(origin, str):
        return [origin.encode()]
    if origin.is_symlink():
        return [str(origin).encode(), str(origin.readlink()).encode()]
    if origin.is_dir():
        return [part for path in sorted(origin.iterdir()) for part in _parts(path)]
    return [str(origin).encode(), origin.read_bytes()] if origin.exists() else []


def _quoted(word: str) -> str:
    """Quote a word for a unit file (systemd.syntax(7), systemd.service(5): ``%`` and ``$`` are special)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if not word or any(character in word for character in " \t\"'\\;") else escaped
