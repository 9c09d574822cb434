"""The charm's options, each with what it may be."""

import re
import ssl
from typing import Annotated, Literal

import ops
from pydantic import ByteSize, Field, PlainValidator, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

import plain_rules
from iot_charm.config import CharmConfig, load_config
from iot_charm.errors import InvalidConfigError
from iot_charm.interfaces.rabbitmq import HOST, NAME
from iot_gateway.config import PlainConfig

OutboxBytes = Annotated[ByteSize, Field(ge=2**20, le=2**40)]
Prefix = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]
_TCP_PORTS = ("mqtt_port", "mqtt_tls_port", "zeromq_pull_port", "zeromq_router_port", "metrics_port", "amqp_port")


def host_names(text: str) -> list[str]:
    """Return the host names and addresses in a text, which has commas between them; what can be neither is left out."""
    return [name for name in text.replace(",", " ").split() if re.fullmatch(HOST, name)]


class GatewayConfig(CharmConfig):
    """The charm's options."""

    site: str = Field(pattern=f"^{NAME}$")
    gateway_id: str = Field(pattern=f"^({NAME})?$")
    topic_prefix: Prefix
    commands_prefix: Prefix
    plain_topics: Annotated[tuple[PlainConfig, ...], PlainValidator(plain_rules.parse)]
    mqtt_port: int = Field(ge=0, le=65535)
    mqtt_tls_port: int = Field(ge=1, le=65535)
    client_certificates: Literal["off", "optional", "required"]
    client_ca: str
    certificate_names: str
    uplink_tls: Literal["if-offered", "required"]
    zeromq: bool
    zeromq_pull_port: int = Field(ge=0, le=65535)
    zeromq_router_port: int = Field(ge=0, le=65535)
    coap: bool
    coap_port: int = Field(ge=1, le=65535)
    coap_plain: bool
    lwm2m: bool
    batch_size: int = Field(ge=1, le=100_000)
    batch_age: int = Field(ge=10, le=60_000)
    outbox_max_bytes: OutboxBytes
    outbox_full: Literal["refuse", "drop-oldest"]
    outbox_max_age: int = Field(ge=0, le=10 * 365 * 86400)
    resend_order: Literal["oldest-first", "newest-first"]
    resend_rate: int = Field(ge=0, le=10_000_000)
    metrics_port: int = Field(ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    amqp: bool
    amqp_port: int = Field(ge=0, le=65535)
    amqp_tls_port: int = Field(ge=1, le=65535)

    @field_validator("commands_prefix")
    @classmethod
    def _apart(cls, value: str, info: ValidationInfo) -> str:
        telemetry, commands = f"{info.data.get('topic_prefix', '')}/", f"{value}/"
        if telemetry.startswith(commands) or (commands.startswith(telemetry) and telemetry != "/"):
            raise ValueError("neither topic_prefix nor what lies below or above it")
        return value

    @field_validator("client_ca")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            if value:
                ssl.create_default_context(cadata=value)
        except ssl.SSLError as error:
            raise PydanticCustomError("client_ca", "must be one or more certificates, PEM") from error
        return value.strip() + "\n" if value else ""

    @field_validator("certificate_names")
    @classmethod
    def _names(cls, value: str) -> str:
        if len(host_names(value)) != len(value.replace(",", " ").split()):
            raise PydanticCustomError("certificate_names", "must be host names and addresses, with commas between")
        return value

    @field_validator("mqtt_tls_port")
    @classmethod
    def _another_port(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("mqtt_port"):
            raise PydanticCustomError("mqtt_tls_port", "must be another than mqtt_port")
        return value

    @field_validator("zeromq_router_port")
    @classmethod
    def _one_port(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("zeromq") and not (value or info.data.get("zeromq_pull_port")):
            raise PydanticCustomError("zeromq_router_port", "must be another than 0 where zeromq_pull_port is 0")
        return value

    @field_validator("metrics_port")
    @classmethod
    def _free_port(cls, value: int, info: ValidationInfo) -> int:
        if value and value in (info.data.get("mqtt_port"), info.data.get("mqtt_tls_port")):
            raise PydanticCustomError("metrics_port", "must be another than mqtt_port and mqtt_tls_port")
        return value

    @field_validator("amqp_port", "amqp_tls_port")
    @classmethod
    def _apart_from_others(cls, value: int, info: ValidationInfo) -> int:
        used = [name for name in _TCP_PORTS if not name.startswith("zeromq") or info.data.get("zeromq")]
        taken = [name for name in used if name != info.field_name and info.data.get(name) == value]
        if value and taken and info.data.get("amqp"):
            raise PydanticCustomError("port", "must be another than {taken}", {"taken": " and ".join(taken)})
        return value

    def gateway(self, unit: ops.Unit) -> str:
        """Return the gateway's name."""
        return self.gateway_id or unit.name.replace("/", "-")

    def key(self, unit: ops.Unit) -> str:
        """Return how the routing keys of the gateway begin, ``<site>.<gateway>``."""
        return f"{self.site}.{self.gateway(unit)}"


def load(charm: ops.CharmBase) -> GatewayConfig:
    """Load the options, and see that they suit the number of units.

    Raises:
        InvalidConfigError: an option has a value that it can't have.
    """
    config, units = load_config(charm, GatewayConfig), charm.app.planned_units()
    if config.gateway_id and units > 1:
        raise InvalidConfigError(
            f"gateway_id={config.gateway_id!r}: it names one gateway, and there are {units} units of "
            f"{charm.app.name}: reset it, and each has its unit's name"
        )
    return config
