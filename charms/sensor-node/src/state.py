"""What the charm knows, read once into frozen, validated values."""

from dataclasses import dataclass
from typing import Literal, Self

import ops
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from iot_charm.config import CharmConfig, load_config
from iot_charm.interfaces.databag import each_unit, is_related
from iot_charm.interfaces.mqtt import NODE_NAME, PASSWORD, USERNAME, MqttGateway
from iot_charm.tls import Material, UnitCertificate
from iot_node import actuators, profiles
from iot_node import config as node_config
from iot_node.errors import ConfigError

MQTT, CERTIFICATES = "mqtt", "certificates"


class NodeConfig(CharmConfig):
    """The charm's options."""

    node_name: str = Field(pattern=f"^({NODE_NAME})?$")
    profile: str
    actuators: str
    interval: float = Field(ge=node_config.MIN_INTERVAL_S, le=node_config.MAX_INTERVAL_S)
    log_level: Literal["debug", "info", "warning", "error"]
    tls: Literal["if-offered", "required"]

    @field_validator("profile")
    @classmethod
    def _known(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",")]
        if len(set(names)) != len(names) or not set(names) <= set(profiles.NAMES):
            raise PydanticCustomError(
                "profile",
                "must be one or more of {known}, each once, with commas between",
                {"known": ", ".join(profiles.NAMES)},
            )
        return ",".join(names)

    @field_validator("actuators")
    @classmethod
    def _are_actuators(cls, value: str) -> str:
        names = _names(value)
        try:
            actuators.create(names)
        except ConfigError as error:
            raise PydanticCustomError("actuators", "{reason}", {"reason": str(error)}) from error
        return ",".join(names)

    @property
    def actuator_names(self) -> tuple[str, ...]:
        """The names of the actuators, each with its kind where it was given."""
        return tuple(_names(self.actuators))

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles."""
        return tuple(self.profile.split(","))

    def node(self, unit: ops.Unit) -> str:
        """Return the name of the node that ``unit`` speaks for."""
        return self.node_name or unit.name.replace("/", "-")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@dataclass(frozen=True)
class Gateway:
    """The gateway that has made an identity for this unit."""

    host: str
    port: int
    name: str
    topic_prefix: str
    commands_prefix: str
    username: str
    password: str
    tls_port: int = 0
    """0 where it offers no TLS."""
    ca: str = ""
    """The authority of its certificate, PEM."""
    client_certificates: str = "off"

    @classmethod
    def from_charm(cls, charm: ops.CharmBase) -> Self | None:
        """Read the first gateway that serves this unit, or None while none does.

        The secret's newest revision becomes the one that is tracked.

        Raises:
            InvalidDatabagError: a gateway published what the interface does not allow.
            ops.SecretNotFoundError: the identity's secret is gone, or was not granted yet.
        """
        for relation, _, published in each_unit(charm, MQTT, MqttGateway):
            secret_id = published.credentials.get(charm.unit.name)
            if secret_id is None or not relation.active:
                continue
            content = charm.model.get_secret(id=secret_id).get_content(refresh=True)
            return cls(
                host=published.host,
                port=published.port,
                name=published.gateway,
                topic_prefix=published.topic_prefix,
                commands_prefix=published.commands_prefix,
                username=content[USERNAME],
                password=content[PASSWORD],
                tls_port=published.tls_port if published.ca else 0,
                ca=published.ca,
                client_certificates=published.client_certificates,
            )
        return None


@dataclass(frozen=True)
class State:
    """What the charm knows at one event."""

    config: NodeConfig
    node: str
    related: bool
    """Whether there is a gateway."""
    gateway: Gateway | None
    """The one that has let this node in."""
    certificate: Material | None
    """The node's own, once it was given."""
    may_get_certificate: bool

    @classmethod
    def from_charm(cls, charm: ops.CharmBase, certificate: UnitCertificate) -> Self:
        """Read options and relations.

        Raises:
            InvalidConfigError: an option has a value that it can't have.
            InvalidDatabagError: a gateway published what the interface does not allow.
            CertificateRequestError: the node is given no certificate.
        """
        config = load_config(charm, NodeConfig)
        name = config.node(charm.unit)
        try:
            gateway = Gateway.from_charm(charm)
        except ops.SecretNotFoundError:
            # It is granted before it is named, but not everywhere at the same moment: the next event brings it.
            gateway = None
        if gateway is not None and gateway.username != name:
            # A gateway knows a node by its user name: under another one, it has not made the new identity yet.
            gateway = None
        return cls(config, name, is_related(charm, MQTT), gateway, certificate.find(), certificate.is_related)

    @property
    def obstacle(self) -> ops.StatusBase | None:
        """Why the gateway can't be spoken to as it should be; what ran before then goes on running."""
        gateway = self.gateway
        if gateway is None or (gateway.tls_port and gateway.client_certificates != "required"):
            return None
        if not gateway.tls_port:
            if self.config.tls == "required":
                return ops.WaitingStatus("Waiting for gateway: it offers no TLS, and tls=required")
            return None if gateway.port else ops.WaitingStatus("Waiting for gateway: it does not listen yet")
        if self.certificate is not None:
            return None
        if self.may_get_certificate:
            return ops.WaitingStatus("Waiting for a certificate (certificates)")
        return ops.BlockedStatus("The gateway wants a certificate of this node: integrate certificates")


class GenerateData(BaseModel):
    """The parameters of the action ``generate-data``."""

    model_config = ConfigDict(frozen=True)

    count: int = Field(default=10_000, ge=1)
    rate: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    seed: int = 1
    timeout: float = Field(default=60.0, ge=1, allow_inf_nan=False)
