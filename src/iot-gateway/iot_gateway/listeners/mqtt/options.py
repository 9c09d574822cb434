"""The settings of the MQTT listener."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from iot_gateway.interfaces import Options
from iot_gateway.listeners.mqtt.tls import TlsOptions


class MqttOptions(Options):
    """Settings of the listener."""

    addresses: list[str] = Field(default=["127.0.0.1"], min_length=1, max_length=16)
    """Where nodes reach it; IPv4 or IPv6."""
    port: int = Field(default=1883, ge=0, le=65535)
    """Of the listener without encryption; 0 for none."""
    tls: TlsOptions | None = None
    broker: Path = Path("/run/mosquitto/gateway.sock")
    """The Unix socket of the site's broker, which nobody but the relay may reach: it asks for no password."""
    broker_user: str = Field(default="iot-gateway", min_length=1, max_length=64)
    """The relay's own name there; no node can have it."""
    topic_prefix: str = Field(default="telemetry", pattern=r"^[^+#\s/]+(/[^+#\s/]+)*$")
    """A node's readings come on ``<topic_prefix>/<node>`` and below."""
    commands_prefix: str = Field(default="commands", pattern=r"^[^+#\s/]+(/[^+#\s/]+)*$")
    """A node's commands come on ``<commands_prefix>/<node>``, and what it says of them on ``.../state``."""
    max_clients: int = Field(default=10_000, ge=1, le=1_000_000)
    max_packet_bytes: int = Field(default=2**20, ge=1024, le=16 * 2**20)
    receive_maximum: int = Field(default=1000, ge=1, le=65535)
    """Messages that a client may have unacknowledged."""
    connect_timeout: float = Field(default=10, gt=0, le=120)
    """Seconds that a client has to introduce itself, and the broker to answer."""
    last_values: bool = True
    """Whether the broker gets each topic's last value, retained."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        telemetry, commands = f"{self.topic_prefix}/", f"{self.commands_prefix}/"
        if telemetry.startswith(commands) or commands.startswith(telemetry):
            raise ValueError("topic_prefix and commands_prefix must not lie within each other")
        return self
