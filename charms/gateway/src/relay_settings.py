"""What the relay's configuration depends on, and the files that say so."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import mosquitto
import tls_files
from iot_gateway.config import PlainConfig

DIRECTORY = Path("/etc/iot-gateway")
SECRETS = DIRECTORY / "secrets.toml"
NODES = DIRECTORY / "nodes.json"
STATE = Path("/var/lib/iot-gateway")
SOCKET = Path("/run/iot-gateway/status.sock")
LOOPBACK = "127.0.0.1"


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
class Amqp:
    """The listener for AMQP, at the same broker as the uplink."""

    queue: str
    """Of what nodes publish."""
    commands_exchange: str
    """Of commands to nodes."""


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
    amqp: Amqp | None = None
    plain: tuple[PlainConfig, ...] = ()
    amqp_ca: str = ""
    """The authority of RabbitMQ's certificate, PEM; without it the uplink is not encrypted."""


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
{_listener_tls(settings.tls)}{_coap(settings.coap, addresses)}{_zeromq(settings.zeromq, addresses)}{_amqp(settings)}
{_plain(settings.plain)}[uplink]
{_lines(_broker(settings))}
commands_queue = {_quoted(settings.commands_queue)}

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


def _broker(settings: Settings) -> dict[str, Any]:
    """Return where RabbitMQ is, and who the relay is there."""
    tls = {"tls": {"ca": str(tls_files.DIRECTORY / tls_files.BROKER_CA)}} if settings.amqp_ca else {}
    return {
        "host": settings.amqp_host,
        "port": settings.amqp_port,
        "vhost": settings.vhost,
        "username": settings.amqp_username,
        **tls,
    }


def _amqp(settings: Settings) -> str:
    amqp = settings.amqp
    if amqp is None:
        return ""
    own = {
        "queue": amqp.queue,
        "commands_exchange": amqp.commands_exchange,
        "commands_queue_prefix": f"{amqp.commands_exchange}.{settings.amqp_username}.",
    }
    return _table("listeners.amqp", {**_broker(settings), **own})


def _plain(rules: Sequence[PlainConfig]) -> str:
    return "".join(f"[[plain]]\n{_lines(msgspec.to_builtins(rule))}\n\n" for rule in rules)


def _zeromq(zeromq: ZeroMq | None, addresses: list[str]) -> str:
    if zeromq is None:
        return ""
    options = {"addresses": addresses, "pull_port": zeromq.pull_port, "router_port": zeromq.router_port}
    return _table("listeners.zeromq", options)


def secrets_text(settings: Settings, amqp_password: str) -> str:
    """Return the file of secrets."""
    password = {"password": amqp_password}
    zeromq = _table("listeners.zeromq", {"secret_key": settings.zeromq.secret_key}) if settings.zeromq else ""
    amqp = _table("listeners.amqp", password) if settings.amqp else ""
    return f"[uplink]\n{_lines(password)}\n{zeromq}{amqp}"


def _table(name: str, options: Mapping[str, Any]) -> str:
    return f"\n[{name}]\n{_lines(options)}\n"


def _lines(options: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {_value(value)}" for key, value in options.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return f"{{ {', '.join(f'{_quoted(key)} = {_value(each)}' for key, each in pairs.items())} }}"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
