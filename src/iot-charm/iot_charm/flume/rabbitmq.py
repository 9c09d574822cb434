"""The agent that drains a queue of RabbitMQ into the Avro sources of other agents.

Flume has no source for RabbitMQ: its JMS source is given RabbitMQ's own JMS client, found through JNDI in a file of
bean definitions. A batch is taken in a JMS transaction that ends once the channel has it on disk, so whatever dies, a
message is either still in the queue or already in the channel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from iot_charm.errors import IotCharmError
from iot_charm.flume.properties import Properties, file_channel, render

CONNECTION_FACTORY, QUEUE = "broker", "queue"
"""Names in JNDI."""


class UnusableCredentialsError(IotCharmError):
    """RabbitMQ's JMS client can't carry these credentials."""


@dataclass(frozen=True)
class Broker:
    """Where the queue is, and who may read it."""

    addresses: tuple[tuple[str, int], ...]
    """Hosts and ports of the cluster's brokers; the client connects to one that answers."""
    vhost: str
    username: str
    password: str
    queue: str
    ca: str = ""
    """The authority that the brokers' certificates are verified against, PEM; empty for no TLS."""


@dataclass(frozen=True)
class Target:
    """An Avro source that events are sent to."""

    name: str
    """Of the unit that listens."""
    host: str
    port: int


@dataclass(frozen=True)
class RabbitmqAgent:
    """What the agent is to do."""

    sources: int
    """JMS sources, each with a connection of its own."""
    batch_size: int
    """Most messages in one transaction, of the source and of the sink."""
    event_dir: str
    channel_capacity: int
    channel_transaction_capacity: int
    targets: tuple[Target, ...]


def beans(broker: Broker) -> str:
    """Write the file that JNDI finds broker and queue in: Spring's bean definitions. It holds the password.

    With TLS the broker must show a certificate for the host that it is reached by, of an authority that the JVM trusts
    (:func:`trust_options`).

    Raises:
        UnusableCredentialsError: the user's name or password has a colon.
    """
    if ":" in broker.username + broker.password:
        # It decodes %3A before it splits the user from the password.
        raise UnusableCredentialsError(
            f"the password of RabbitMQ's user {broker.username} has a colon, which RabbitMQ's JMS client can't carry: "
            "give the user another"
        )
    credentials = f"{quote(broker.username, safe='')}:{quote(broker.password, safe='')}"
    uris = [f"amqp://{credentials}@{host}:{port}/{quote(broker.vhost, safe='')}" for host, port in broker.addresses]
    # Set in this order: a URI sets `ssl` as well.
    tls = {"ssl": "true", "useDefaultSslContext": "true", "hostnameVerification": "true"} if broker.ca else {}
    queue = {"destinationName": broker.queue, "queue": "true", "amqp": "true", "amqpQueueName": broker.queue}
    root = ElementTree.Element("beans", xmlns="http://www.springframework.org/schema/beans")
    factory = {"uris": uris, "terminationTimeout": "15000", **tls}
    _bean(root, CONNECTION_FACTORY, "com.rabbitmq.jms.admin.RMQConnectionFactory", factory)
    _bean(root, QUEUE, "com.rabbitmq.jms.admin.RMQDestination", {**queue, "declared": "true"})
    names = {name: name for name in (CONNECTION_FACTORY, QUEUE)}
    _bean(root, "jndi", "org.apache.xbean.spring.jndi.DefaultContext", {"entries": names})
    ElementTree.indent(root)
    return f"{ElementTree.tostring(root, encoding='unicode', xml_declaration=True)}\n"


def trust_options(truststore: Path) -> list[str]:
    """Return the JVM's options that have it trust the authorities in a file (PKCS #12, no password), and no other."""
    return [f"-Djavax.net.ssl.trustStore={truststore}", "-Djavax.net.ssl.trustStoreType=PKCS12"]


def properties(agent: RabbitmqAgent, *, beans_file: Path, data: Path) -> str:
    """Write the agent's configuration.

    Args:
        agent: what it is to do.
        beans_file: what :func:`beans` wrote.
        data: the folder for its channel.
    """
    sources = [f"rabbitmq{number}" for number in range(agent.sources)]
    sinks = [f"avro{number}" for number in range(len(agent.targets))]
    sections: list[tuple[str, Properties]] = [
        ("", {"sources": " ".join(sources), "channels": "disk", "sinks": " ".join(sinks)}),
        (
            "channels.disk",
            file_channel(
                data / "channel",
                capacity=agent.channel_capacity,
                transaction_capacity=agent.channel_transaction_capacity,
                # A full channel means messages go back to the queue, and the broker counts how often: wait long.
                keep_alive_s=30,
            ),
        ),
        *((f"sources.{name}", _source(agent, beans_file)) for name in sources),
        *((f"sinks.{name}", _sink(agent, target)) for name, target in zip(sinks, agent.targets, strict=True)),
        *_group(sinks),
    ]
    return render(sections)


def _source(agent: RabbitmqAgent, beans_file: Path) -> Properties:
    return {
        "type": "jms",
        "channels": "disk",
        "initialContextFactory": "org.apache.xbean.spring.jndi.SpringInitialContextFactory",
        "providerURL": beans_file.as_uri(),
        "connectionFactory": CONNECTION_FACTORY,
        "destinationName": QUEUE,
        "destinationType": "QUEUE",
        "destinationLocator": "JNDI",
        "batchSize": agent.batch_size,
        # After an empty poll; Flume would let it grow to 5 s, which the next batch would wait for.
        "backoffSleepIncrement": 100,
        "maxBackoffSleep": 500,
        "interceptors": "directory",
        "interceptors.directory.type": "static",
        "interceptors.directory.key": "event_dir",
        "interceptors.directory.value": agent.event_dir,
        # A header of that name that came with the message is not ours.
        "interceptors.directory.preserveExisting": False,
    }


def _sink(agent: RabbitmqAgent, target: Target) -> Properties:
    return {
        "type": "avro",
        "channel": "disk",
        "hostname": target.host,
        "port": target.port,
        "batch-size": agent.batch_size,
        "connect-timeout": 20000,
        "request-timeout": 30000,
    }


def _group(sinks: Sequence[str]) -> list[tuple[str, Properties]]:
    """Spread the load over several targets; one that fails is left alone for a while (it doubles, up to 30 s)."""
    if len(sinks) < 2:
        return []
    return [
        ("", {"sinkgroups": "targets"}),
        (
            "sinkgroups.targets",
            {
                "sinks": " ".join(sinks),
                "processor.type": "load_balance",
                "processor.selector": "round_robin",
                "processor.backoff": True,
                "processor.selector.maxTimeOut": 30000,
            },
        ),
    ]


def _bean(
    root: ElementTree.Element, name: str, class_name: str, properties: Mapping[str, str | list[str] | dict[str, str]]
) -> None:
    """Add a bean; a property's value is a text, a list of texts, or references to other beans by name."""
    bean = ElementTree.SubElement(root, "bean", {"id": name, "class": class_name})
    for key, value in properties.items():
        made = ElementTree.SubElement(bean, "property", {"name": key})
        if isinstance(value, str):
            made.set("value", value)
        elif isinstance(value, list):
            values = ElementTree.SubElement(made, "list")
            for each in value:
                ElementTree.SubElement(values, "value").text = each
        else:
            entries = ElementTree.SubElement(made, "map")
            for entry, bean_name in value.items():
                ElementTree.SubElement(entries, "entry", {"key": entry, "value-ref": bean_name})
