"""The relay's configuration: a TOML file, and a second one, for the owner's eyes only, with the secrets."""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from iot_gateway import registry
from iot_gateway.errors import ConfigError
from iot_gateway.interfaces import Options
from iot_gateway.shapes import Shape, ShapeError
from iot_telemetry.plain import PlainRule

SECRETS = frozenset({"password", "secret_key"})
"""Settings that only the file for the owner's eyes may hold."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
"""Neither dots nor wildcards: it is one word of an AMQP routing key."""


class BatchConfig(Shape, frozen=True, kw_only=True):
    """When a batch is complete, and how it travels."""

    readings: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    bytes: Annotated[int, Meta(ge=1024, le=8 * 2**20)] = 512 * 1024
    age_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    encoding: Literal["gzip", "identity"] = "gzip"
    window: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Batches sent ahead: at most ``window * readings`` readings are sent twice after a kill or a power cut."""


class OutboxConfig(Shape, frozen=True, kw_only=True):
    """Where readings wait."""

    plugin: str = "disk"
    directory: Path = Path("/var/lib/iot-gateway/outbox")
    max_bytes: Annotated[int, Meta(ge=2**20)] = 2**30
    dead_letters_max_bytes: Annotated[int, Meta(ge=8 * 2**20)] = 64 * 2**20
    segment_bytes: Annotated[int, Meta(ge=2**16)] = 8 * 2**20
    full: Literal["refuse", "drop-oldest"] = "refuse"
    """What happens when there is no room."""
    max_age: Annotated[float, Meta(ge=0.0, le=10 * 366 * 86400.0)] = 0.0
    """Seconds after which what waits is dropped; 0 for never."""

    def lane(self, max_bytes: int) -> dict[str, Any]:
        """Return the options of a lane's outbox; segments are small enough for several to fit."""
        return {
            "max_bytes": max_bytes,
            "segment_bytes": max(2**16, min(self.segment_bytes, max_bytes // 8)),
            "full": self.full,
            "max_age": self.max_age,
        }


class ResendConfig(Shape, frozen=True, kw_only=True):
    """How readings are sent that waited for the uplink; those that come while it is there are live."""

    order: Literal["oldest-first", "newest-first"] = "oldest-first"
    """Before what is live, or after it."""
    rate: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    """Readings a second at most; 0 for no bound."""


class MetricsConfig(Shape, frozen=True, kw_only=True):
    """Where Prometheus finds the metrics."""

    address: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """0 for none."""


class PlainConfig(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """How the payloads of some topics are read that are not SenML; see :class:`iot_telemetry.plain.PlainRule`."""

    topic: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^(\+|[^+#/]*)(/(\+|[^+#/]*))*(/#)?\Z|^#\Z")]
    format: Literal["number", "text", "json"]
    sensor: Annotated[str, Meta(max_length=256, pattern=r"^([A-Za-z0-9{][-A-Za-z0-9:./_{}]*)?\Z")] = ""
    units: dict[str, str] = field(default_factory=dict[str, str])
    time: Annotated[str, Meta(max_length=256)] = ""

    def rule(self) -> PlainRule:
        """Return the rule."""
        return PlainRule(self.topic, self.format, self.sensor, self.units, self.time)


class PluginConfig(Shape, frozen=True, kw_only=True):
    """A plugin's name and, beside it in the file, its own settings, which its ``Options`` read."""

    plugin: str = ""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


class RelayConfig(Shape, frozen=True, kw_only=True):
    """The whole configuration."""

    site: Name
    gateway: Name
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    secrets_file: Path | None = None
    nodes_file: Path | None = None
    """Who may speak to the gateway; without it nobody may."""
    status_socket: Path = Path("/run/iot-gateway/status.sock")
    batch: BatchConfig = BatchConfig()
    plain: Annotated[tuple[PlainConfig, ...], Meta(max_length=100)] = ()
    """The first that matches a topic is the topic's; the others carry SenML."""
    outbox: OutboxConfig = OutboxConfig()
    resend: ResendConfig = ResendConfig()
    metrics: MetricsConfig = MetricsConfig()
    listeners: Annotated[dict[str, PluginConfig], Meta(min_length=1)]
    uplink: PluginConfig

    @property
    def control_socket(self) -> Path:
        """Where the relay takes orders: beside the status socket."""
        return self.status_socket.with_name(f"{self.status_socket.stem}-control.sock")

    def listener_options(self, name: str) -> Options:
        """Return the settings of a listener; its plugin is called like it unless it says otherwise."""
        plugin = self.listeners[name]
        return _options(f"listeners.{name}", registry.listener(plugin.plugin or name).Options, plugin.settings)

    def uplink_options(self) -> Options:
        """Return the settings of the uplink."""
        return _options("uplink", registry.uplink(self.uplink.plugin or "amqp").Options, self.uplink.settings)


def load(path: Path) -> RelayConfig:
    """Load and check the configuration, plugins' settings and secrets included.

    Raises:
        ConfigError: a file can't be read, or a setting is unknown, missing or out of range.
    """
    settings = _read(path)
    _forbid_secrets(path, settings)
    secrets_file = settings.get("secrets_file")
    if isinstance(secrets_file, str):
        _merge(settings, _read_secrets(path.parent / secrets_file))
    try:
        config = RelayConfig.read(_with_plugins(settings))
    except ShapeError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        for name in config.listeners:
            config.listener_options(name)
        config.uplink_options()
        outbox_options(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return config


def outbox_options(config: RelayConfig) -> tuple[Options, Options]:
    """Return the settings of the outboxes for telemetry and for dead letters.

    Raises:
        ConfigError: a setting is out of range.
    """
    model = registry.outbox(config.outbox.plugin).Options
    outbox = config.outbox
    telemetry, dead_letters = outbox.lane(outbox.max_bytes), outbox.lane(outbox.dead_letters_max_bytes)
    return _options("outbox", model, telemetry), _options("outbox", model, dead_letters)


def _options(where: str, model: type[Options], settings: Mapping[str, Any]) -> Options:
    try:
        return model.read(settings)
    except ShapeError as error:
        raise ConfigError(f"{where}{'.' if error.place else ': '}{error}") from error


def _with_plugins(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those of plugins below their own name, as :class:`PluginConfig` has them."""
    made = dict(settings)
    if isinstance(found := made.get("listeners"), dict):
        tables: dict[str, Any] = found  # pyright: ignore[reportUnknownVariableType]
        made["listeners"] = {name: _plugin(table) for name, table in tables.items()}
    if "uplink" in made:
        made["uplink"] = _plugin(made["uplink"])
    return made


def _plugin(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    settings: dict[str, Any] = dict(table)  # pyright: ignore[reportUnknownArgumentType]
    return {"plugin": settings.pop("plugin", ""), "settings": settings}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_secrets(path: Path) -> dict[str, Any]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: its mode is {mode:04o}, but nobody else may read it: 0600 is expected")
    return _read(path)


def _forbid_secrets(path: Path, settings: Mapping[str, Any], where: str = "") -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            _forbid_secrets(path, value, f"{where}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        elif key in SECRETS:
            raise ConfigError(f"{path}: {where}{key} belongs into the file that secrets_file names")


def _merge(settings: dict[str, Any], secrets: Mapping[str, Any]) -> None:
    for key, value in secrets.items():
        present = settings.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)  # pyright: ignore[reportUnknownArgumentType]
        else:
            settings[key] = value
