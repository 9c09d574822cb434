"""Installs a unit's agent and its companion, and has them run what their files say."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iot_charm import distribution, services
from iot_charm.errors import IotCharmError
from iot_charm.files import ensure_file, remove
from iot_charm.flume.agent import OPT, USER, VAR, Agent
from iot_charm.java import ensure_java
from iot_charm.users import ensure_system_user
from iot_charm.workload import ensure_python_workload


class AvroClientError(IotCharmError):
    """Flume's own client could not deliver an event."""


@dataclass(frozen=True)
class ConfFile:
    """A file that the agent reads."""

    path: Path
    content: str
    mode: int = 0o640


@dataclass(frozen=True)
class Companion:
    """A daemon of ours that runs beside the agent."""

    suffix: str
    """Its service is the agent's with this behind a hyphen."""
    description: str
    command: Sequence[str]
    """Module and arguments for the Python interpreter."""
    user: str

    def service(self, agent: Agent) -> str:
        """Return the name of its service."""
        return f"{agent.service}-{self.suffix}"


def install(agent: Agent, archive: Path) -> None:
    """Install Java, the distribution, the user and the agent's folders.

    Raises:
        DistributionError: the archive can't be used.
    """
    ensure_java()
    ensure_system_user(USER, home=VAR)
    distribution.ensure_installed(archive, agent.distribution, prefix=OPT)
    agent.ensure_directories()


def version(agent: Agent) -> str:
    """Return the version of the installed Flume, or an empty text where there is none."""
    jars = sorted((agent.home / "lib").glob("flume-ng-node-*.jar"))
    return jars[0].stem.removeprefix("flume-ng-node-") if jars else ""


def ensure_agent(
    agent: Agent, *, description: str, heap_mb: int, files: Sequence[ConfFile], java_options: Sequence[str] = ()
) -> bool:
    """Have the agent running with what is in its configuration folder, these files among it; a held one stays stopped.

    Args:
        agent: which one.
        description: shown by ``systemctl status``.
        heap_mb: most memory for the JVM's heap, MiB.
        files: to be written.
        java_options: further ones of its JVM.

    Returns:
        Whether it was started or restarted.
    """
    for file in files:
        ensure_file(file.path, file.content, mode=file.mode, owner=USER, group=USER)
    text = agent.unit_text(description=description, java_home=ensure_java(), heap_mb=heap_mb, java_options=java_options)
    services.ensure_unit(agent.service, text)
    return not is_held(agent) and services.ensure_running(agent.service, _origins(agent))


def ensure_companion(agent: Agent, companion: Companion, charm_dir: Path) -> bool:
    """Have the companion running, from a copy of the charm's packages that a refresh of the charm leaves alone.

    Returns:
        Whether it was started or restarted.
    """
    service = companion.service(agent)
    ensure_python_workload(service, charm_dir)
    home = OPT / service
    text = services.daemon_unit(
        companion.description,
        ["/usr/bin/python3", "-m", *companion.command],
        user=companion.user,
        environment={"PYTHONPATH": str(home), "PYTHONUNBUFFERED": "1"},
        after=[f"{agent.service}.service"],
        directives={"Restart": "always"},
    )
    services.ensure_unit(service, text)
    return services.ensure_running(service, [home])


def start(agent: Agent) -> None:
    """Start the agent that an operator stopped."""
    remove(_hold(agent))
    services.ensure_running(agent.service, _origins(agent))


def restart(agent: Agent) -> None:
    """Restart the agent; one that an operator stopped starts."""
    remove(_hold(agent))
    services.ensure_running(agent.service, _origins(agent), restart=True)


def stop(agent: Agent) -> None:
    """Stop the agent until :func:`start`; hooks and reboots leave it stopped."""
    ensure_file(_hold(agent), "Stopped by an operator's action.\n")
    services.stop(agent.service)
    subprocess.run(["systemctl", "disable", "--quiet", agent.service], check=False)


def is_held(agent: Agent) -> bool:
    """Tell whether an operator stopped the agent."""
    return _hold(agent).exists()


def is_configured(agent: Agent) -> bool:
    """Tell whether the agent has been given anything to run."""
    return services.unit_file(agent.service).exists()


def is_running(agent: Agent) -> bool:
    """Tell whether the agent's process runs."""
    return services.is_running(agent.service)


def disable(agent: Agent, companion: Companion) -> None:
    """Stop both services for good; the channel's events stay on disk."""
    for service in (agent.service, companion.service(agent)):
        services.disable(service)


def send_event(agent: Agent, *, host: str, port: int, headers: dict[str, str], body: str, timeout_s: float) -> None:
    """Send one event with Flume's own Avro client.

    Args:
        agent: whose distribution is used.
        host: where an Avro source listens.
        port: likewise.
        headers: of the event.
        body: one line.
        timeout_s: for all of it.

    Raises:
        AvroClientError: the source did not take it.
    """
    body_file, header_file = agent.data / "event", agent.data / "event-headers"
    ensure_file(body_file, f"{body}\n")
    ensure_file(header_file, "".join(f"{name}={value}\n" for name, value in headers.items()))
    command = [str(agent.home / "bin/flume-ng"), "avro-client", "--host", host, "--port", str(port)]
    command += ["--filename", str(body_file), "--headerFile", str(header_file)]
    environment = {"JAVA_HOME": str(ensure_java()), "PATH": "/usr/bin:/bin", "FLUME_JAVA_OPTS": "-Xmx64m"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise AvroClientError(f"the Avro source at {host}:{port} did not answer in {timeout_s:.0f} s") from error
    finally:
        remove(body_file)
        remove(header_file)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise AvroClientError(f"the Avro source at {host}:{port} did not take an event: {lines[-1] if lines else ''}")


def _origins(agent: Agent) -> list[services.Origin]:
    return [agent.home, agent.conf]


def _hold(agent: Agent) -> Path:
    return agent.data / "stopped-by-operator"
