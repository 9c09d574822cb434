"""The node agent on this machine: install, configure, start, and run the generator. Imports no ops."""

import json
import logging
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from iot_charm import services
from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_directory, ensure_file, remove
from iot_charm.users import ensure_system_user
from iot_charm.workload import ensure_python_workload
from iot_node.agent import Status, read_status
from iot_node.errors import ConfigError

logger = logging.getLogger(__name__)

USER: Final = "iot-node"
_PROGRAM = Path("/opt/iot-node")
_CONFIG = Path("/etc/iot-node")
_STATE = Path("/var/lib/iot-node")
_TLS_FILES = ("ca", "certificate", "key")
_HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ReadWritePaths": str(_STATE),
    "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "CapabilityBoundingSet": "",
    "UMask": "0077",
}


class NodeError(IotCharmError):
    """The agent or the generator did not do what it should; the text says why."""


@dataclass(frozen=True)
class Tls:
    """What TLS needs, PEM."""

    ca: str
    """The authority of the gateway's certificate."""
    certificate: str = ""
    """The node's own; empty for none."""
    key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Settings:
    """What the agent's configuration depends on."""

    instance: str
    """The unit's name with a dash: several nodes can share a machine."""
    node: str
    profiles: tuple[str, ...]
    actuators: tuple[str, ...]
    interval: float
    log_level: str
    host: str
    port: int
    topic_prefix: str
    commands_prefix: str
    username: str
    password: str
    tls: Tls | None = None
    """Without it nothing is encrypted."""

    @property
    def state_directory(self) -> Path:
        """Packs, counters and status: the node's, so that a node under another name does not send this one's."""
        return _STATE / self.node

    def render(self) -> str:
        """Write the agent's configuration file (TOML, of which JSON's strings, numbers and lists are a part)."""
        top = {
            "node": self.node,
            "profiles": list(self.profiles),
            "actuators": list(self.actuators),
            "interval": self.interval,
            "log_level": self.log_level,
            "state_directory": str(self.state_directory),
        }
        gateway = {
            "host": self.host,
            "port": self.port,
            "topic_prefix": self.topic_prefix,
            "commands_prefix": self.commands_prefix,
            "credentials_file": str(_credentials_file(self.instance)),
            **{
                f"{name}_file": str(_tls_file(self.instance, name))
                for name, text in _tls_texts(self.tls).items()
                if text
            },
        }
        lines = [
            "# Written by the charm.",
            *(f"{key} = {json.dumps(value)}" for key, value in top.items()),
            "",
            "[gateway]",
            *(f"{key} = {json.dumps(value)}" for key, value in gateway.items()),
        ]
        return "\n".join(lines) + "\n"


def service_name(instance: str) -> str:
    """Return the name of the agent's service."""
    return f"iot-node-{instance}"


def install(charm_dir: Path) -> None:
    """Install the program and its user."""
    ensure_system_user(USER, home=_STATE)
    ensure_directory(_CONFIG)
    ensure_python_workload("iot-node", charm_dir)


def configure(settings: Settings) -> None:
    """Write the agent's configuration, credentials and service."""
    ensure_directory(_CONFIG / settings.instance)
    ensure_directory(settings.state_directory, mode=0o750, owner=USER, group=USER)
    credentials = json.dumps({"username": settings.username, "password": settings.password})
    ensure_file(_credentials_file(settings.instance), credentials, mode=0o600, owner=USER, group=USER)
    ensure_file(_config_file(settings.instance), settings.render())
    for name, text in _tls_texts(settings.tls).items():
        path = _tls_file(settings.instance, name)
        if text:
            ensure_file(path, text, mode=0o600, owner=USER, group=USER)
        else:
            remove(path)
    unit = services.daemon_unit(
        f"Node {settings.node}",
        ["/usr/bin/python3", "-m", "iot_node", "run", "--config", str(_config_file(settings.instance))],
        user=USER,
        environment={"PYTHONPATH": str(_PROGRAM)},
        directives=_HARDENING,
    )
    services.ensure_unit(service_name(settings.instance), unit)


def uses_tls(instance: str) -> bool:
    """Tell whether the agent was told to use TLS."""
    return _tls_file(instance, "ca").exists()


def start(settings: Settings, *, restart: bool) -> bool:
    """Have the agent running with its program and configuration.

    Args:
        settings: what it was configured by.
        restart: start it anew in any case.

    Returns:
        Whether it was started or restarted.
    """
    origins = [_PROGRAM, _CONFIG / settings.instance]
    return services.ensure_running(service_name(settings.instance), origins, restart=restart)


def running(instance: str) -> bool:
    """Tell whether the agent's service is active."""
    return services.is_running(service_name(instance))


def stop(instance: str) -> None:
    """Stop the agent; what it has not sent stays on disk."""
    services.stop(service_name(instance))


def uninstall(instance: str) -> None:
    """Remove the agent's service, configuration and credentials; its state stays."""
    services.disable(service_name(instance))
    remove(_CONFIG / instance)


def status(node: str) -> Status:
    """Return what the agent last told about itself.

    Raises:
        NodeError: it has told nothing yet.
    """
    try:
        return read_status(_STATE / node)
    except ConfigError as error:
        raise NodeError(f"the agent has not told its status: {error}") from error


def wait_for_acknowledgement(node: str, since: float, timeout: float) -> Status:
    """Wait until the gateway acknowledges a pack.

    Args:
        node: name of the node.
        since: seconds since the epoch; an acknowledgement before does not count.
        timeout: seconds to wait.

    Raises:
        NodeError: none came in time; the text says what the agent says.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            found = status(node)
            problem = found.problem or "the gateway acknowledged nothing"
            if found.connected and found.last_acknowledged >= since:
                return found
        except NodeError as error:
            problem = str(error)
        if time.monotonic() > deadline:
            raise NodeError(f"{problem} (waited {timeout:.0f} s)")
        time.sleep(0.2)


@dataclass(frozen=True)
class Sent:
    """A finished run of the generator."""

    node: str
    sent: int
    seconds: float
    rate: float


def generate(
    instance: str, *, count: int, rate: float, seed: int, timeout: float, progress: Callable[[str], None]
) -> Sent:
    """Send test data as the agent's user, with the agent's credentials; returns when all of it is acknowledged.

    Raises:
        NodeError: it failed; the text says why.
    """
    run = datetime.now(UTC).strftime("run-%Y%m%dT%H%M%S")
    generator = ["/usr/bin/python3", "-m", "iot_node", "generate", "--config", str(_config_file(instance))]
    options = [f"--count={count}", f"--rate={rate:g}", f"--seed={seed}", f"--subnode={run}", f"--timeout={timeout:g}"]
    command = ["runuser", "-u", USER, "--", "env", f"PYTHONPATH={_PROGRAM}", *generator, *options]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stderr  # noqa: S101 - for the type checker: both are pipes
        assert process.stdout  # noqa: S101
        for line in process.stderr:
            last = line.strip() or last
            progress(line.rstrip())
        summary = process.stdout.read()
    if process.returncode != 0:
        raise NodeError(last.removeprefix("iot-node: ") or f"the generator ended with {process.returncode}")
    found = json.loads(summary)
    return Sent(found["node"], found["acknowledged"], found["seconds"], found["rate"])


def _config_file(instance: str) -> Path:
    return _CONFIG / instance / "config.toml"


def _tls_texts(tls: Tls | None) -> dict[str, str]:
    return {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key} if tls else dict.fromkeys(_TLS_FILES, "")


def _tls_file(instance: str, name: str) -> Path:
    return _CONFIG / instance / f"{name}.pem"


def _credentials_file(instance: str) -> Path:
    return _CONFIG / instance / "credentials.json"
