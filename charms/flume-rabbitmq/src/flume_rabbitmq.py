"""The agent that drains RabbitMQ: its files, its services, and whether it works."""

import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pika
import pika.exceptions

from iot_charm.errors import IotCharmError
from iot_charm.flume import rabbitmq, service, watchdog
from iot_charm.flume.agent import Agent
from iot_charm.flume.rabbitmq import Broker, RabbitmqAgent, Target
from iot_charm.java import ensure_truststore, remove_truststore

TRUSTSTORE = "truststore.p12"
"""File in the agent's configuration folder."""

DRAIN_S = 15
"""How long a smoke test waits for a queue to shrink."""


class NotWorkingError(IotCharmError):
    """The agent does not do its work; the text says what is wrong and where to look."""


@dataclass(frozen=True)
class Depth:
    """What a smoke test saw of the queue, in messages."""

    before: int
    after: int


def install(agent: Agent, archive: Path) -> str:
    """Install what the agent needs; returns Flume's version.

    Raises:
        DistributionError: the archive can't be used.
    """
    service.install(agent, archive)
    return service.version(agent)


def configure(agent: Agent, broker: Broker, wanted: RabbitmqAgent, *, heap_mb: int, charm_dir: Path) -> bool:
    """Have the agent and its watchdog running as wanted.

    Returns:
        Whether the agent was started or restarted.

    Raises:
        UnusableCredentialsError: RabbitMQ's JMS client can't carry them.
        TruststoreError: RabbitMQ's authority can't be read.
    """
    beans = service.ConfFile(agent.conf / "jndi.xml", rabbitmq.beans(broker), mode=0o600)
    truststore = agent.conf / TRUSTSTORE
    if broker.ca:
        ensure_truststore(truststore, broker.ca)
    else:
        remove_truststore(truststore)
    started = service.ensure_agent(
        agent,
        description=f"Flume agent of {agent.unit}: RabbitMQ to Avro",
        heap_mb=heap_mb,
        files=[
            beans,
            service.ConfFile(
                agent.properties_file, rabbitmq.properties(wanted, beans_file=beans.path, data=agent.data)
            ),
        ],
        java_options=rabbitmq.trust_options(truststore) if broker.ca else [],
    )
    service.ensure_companion(agent, _watchdog(agent, broker.addresses, wanted.sources), charm_dir)
    return started


def uses_tls(agent: Agent) -> bool:
    """Tell whether the agent was told to use TLS."""
    return (agent.conf / TRUSTSTORE).exists()


def disable(agent: Agent) -> None:
    """Stop the agent and its watchdog for good; what the channel holds stays on disk."""
    service.disable(agent, _watchdog(agent, (), 0))


def connections(agent: Agent, addresses: Sequence[tuple[str, int]]) -> int:
    """Count the agent's connections to any of these addresses."""
    pid = watchdog.main_pid(agent.service)
    return watchdog.connections(pid, addresses) if pid else 0


def smoke_test(agent: Agent, broker: Broker, sources: int, targets: Sequence[Target]) -> Depth:
    """Check that messages find their way from the queue through the agent.

    Raises:
        NotWorkingError: they don't.
    """
    journal = f"see: journalctl -u {agent.service}"
    if not service.is_running(agent):
        raise NotWorkingError(f"the agent does not run; {journal}")
    found = connections(agent, broker.addresses)
    if found < sources:
        raise NotWorkingError(f"{found} of {sources} sources are connected to RabbitMQ; {journal}")
    before = after = _depth(broker)
    deadline = time.monotonic() + DRAIN_S
    while after and after >= before and time.monotonic() < deadline:
        time.sleep(0.5)
        after = _depth(broker)
    if after and after >= before:
        raise NotWorkingError(
            f"{after} messages in queue {broker.queue} did not become fewer in {DRAIN_S} s; {journal}"
        )
    if not any(connections(agent, [(target.host, target.port)]) for target in targets):
        names = ", ".join(target.name for target in targets)
        raise NotWorkingError(f"the agent is not connected to any of {names}; {journal}")
    return Depth(before, after)


def _depth(broker: Broker) -> int:
    """Ask the broker, with the agent's own credentials, how many messages wait.

    Raises:
        NotWorkingError: it does not answer, lets nobody in, or has no such queue.
    """
    host, port = broker.addresses[0]
    parameters = pika.ConnectionParameters(
        host,
        port,
        broker.vhost,
        pika.PlainCredentials(broker.username, broker.password),
        ssl_options=pika.SSLOptions(ssl.create_default_context(cadata=broker.ca), host) if broker.ca else None,
        socket_timeout=10,
        blocked_connection_timeout=10,
    )
    try:
        connection = pika.BlockingConnection(parameters)
        try:
            return int(connection.channel().queue_declare(broker.queue, passive=True).method.message_count)
        finally:
            if connection.is_open:
                connection.close()
    except (pika.exceptions.AMQPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise NotWorkingError(f"queue {broker.queue} at {host}:{port} can't be read: {reason}") from error


def _watchdog(agent: Agent, addresses: Sequence[tuple[str, int]], sources: int) -> service.Companion:
    brokers = [word for host, port in addresses for word in ("--broker", f"{host}:{port}")]
    return service.Companion(
        "watchdog",
        f"Watchdog of {agent.service}",
        ["iot_charm.flume.watchdog", "--service", agent.service, "--connections", str(sources), *brokers],
        user="root",
    )
