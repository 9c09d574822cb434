"""The settings of the MQTT listener."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from iot_gateway.interfaces import Options
from iot_gateway.listeners.mqtt.tls import TlsOptions


class MqttOptions(Options, frozen=True, kw_only=True):
    """Settings of the listener."""

    addresses: Annotated[list[str], Meta(min_length=1, max_length=16)] = field(default_factory=lambda: ["127.0.0.1"])
    """Where nodes reach it; IPv4 or IPv6."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 1883
    """Of the listener without encryption; 0 for none."""
    tls: TlsOptions | None = None
    broker: Path = Path("/run/mosquitto/gateway.sock")
    """The Unix socket of the site's broker, which nobody but the relay may reach: it asks for no password."""
    broker_user: Annotated[str, Meta(min_length=1, max_length=64)] = "iot-gateway"
    """The relay's own name there; no node can have it."""
    topic_prefix: Annotated[str, Meta(pattern=r"^[^+#\s/]+(/[^+#\s/]+)*\Z")] = "telemetry"
    """A node's readings come on ``<topic_prefix>/<node>`` and below."""
    commands_prefix: Annotated[str, Meta(pattern=r"^[^+#\s/]+(/[^+#\s/]+)*\Z")] = "commands"
    """A node's commands come on ``<commands_prefix>/<node>``, and what it says of them on ``.../state``."""
    max_clients: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    max_packet_bytes: Annotated[int, Meta(ge=1024, le=16 * 2**20)] = 2**20
    receive_maximum: Annotated[int, Meta(ge=1, le=65535)] = 1000
    """Messages that a client may have unacknowledged."""
    connect_timeout: Annotated[float, Meta(gt=0, le=120)] = 10
    """Seconds that a client has to introduce itself, and the broker to answer."""
    last_values: bool = True
    """Whether the broker gets each topic's last value, retained."""

    def __post_init__(self) -> None:
        """Check that the topics of readings and of commands are apart."""
        telemetry, commands = f"{self.topic_prefix}/", f"{self.commands_prefix}/"
        if telemetry.startswith(commands) or commands.startswith(telemetry):
            raise ValueError("topic_prefix and commands_prefix must not lie within each other")
