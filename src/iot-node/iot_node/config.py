"""The node's configuration: one TOML file, and a file of its own for the credentials."""

import json
import re
import stat
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from iot_node import actuators, profiles
from iot_node.errors import ConfigError
from iot_node.tls import Tls
from iot_telemetry.names import NODE_NAME, NODE_NAME_WORDS

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 86_400.0


def is_name(text: str) -> bool:
    """Tell whether a node, or a run that it speaks for, may be called so; the gateway has the same rule."""
    return re.fullmatch(NODE_NAME, text) is not None


@dataclass(frozen=True)
class Credentials:
    """How the node proves to the gateway who it is."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Keep the password out of logs."""
        return f"Credentials({self.username!r}, ...)"

    @classmethod
    def read(cls, path: Path) -> "Credentials":
        """Read a JSON file with ``username`` and ``password`` that nobody but its owner may read.

        Raises:
            ConfigError: it is missing, malformed, or open to others.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & 0o077:
                raise ConfigError(f"{path} is open to others (mode {mode:04o}): chmod 600 {path}")
            content = json.loads(path.read_bytes())
            return cls(username=str(content["username"]), password=str(content["password"]))
        except OSError as error:
            raise ConfigError(f"can't read the credentials: {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is not a JSON object with username and password") from error


@dataclass(frozen=True)
class Gateway:
    """Where the gateway's MQTT listener is."""

    host: str
    port: int
    topic_prefix: str
    commands_prefix: str
    credentials_file: Path
    tls: Tls | None = None
    """Without it nothing is encrypted; with it nothing is sent that is not, whatever happens."""


@dataclass(frozen=True)
class Config:
    """All that a node is told."""

    node: str
    profiles: tuple[str, ...]
    actuators: tuple[str, ...]
    """What commands set; see :func:`iot_node.actuators.create`."""
    interval: float
    """Seconds from one pack to the next."""
    seed: int
    state_directory: Path
    spool_max_bytes: int
    """Bytes of packs that are kept on disk while the gateway does not acknowledge them."""
    log_level: str
    gateway: Gateway

    @property
    def topic(self) -> str:
        """Where the node publishes."""
        return f"{self.gateway.topic_prefix}/{self.node}"

    @property
    def commands_topic(self) -> str:
        """Where the node's commands come; what it says of them goes to ``state`` below."""
        return f"{self.gateway.commands_prefix}/{self.node}"

    @classmethod
    def read(cls, path: Path) -> "Config":
        """Read the TOML file.

        Raises:
            ConfigError: it is missing, malformed, or a value is out of its range.
        """
        try:
            document = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"can't read the configuration: {error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not TOML: {error}") from error
        try:
            return cls._of(document)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> "Config":
        top = _Table("", document)
        gateway = _Table("gateway.", top.get("gateway", dict, {}))
        node = top.get("node", str)
        if not is_name(node):
            raise ConfigError(f"node={node!r}: must be {NODE_NAME_WORDS}")
        names = tuple(top.get("profiles", list, ["sensortag"]))
        if not names or len(set(names)) != len(names) or not set(names) <= set(profiles.NAMES):
            raise ConfigError(
                f"profiles={list(names)!r}: must be one or more of {', '.join(profiles.NAMES)}, each once"
            )
        words: list[Any] = top.get("actuators", list, [])
        if not all(isinstance(word, str) for word in words):
            raise ConfigError(f"actuators={words!r}: must be names, such as light or window:switch")
        actuators.create(words)
        level = top.get("log_level", str, "info")
        if level not in LOG_LEVELS:
            raise ConfigError(f"log_level={level!r}: must be one of {', '.join(LOG_LEVELS)}")
        config = cls(
            node=node,
            profiles=names,
            actuators=tuple(words),
            interval=top.number("interval", 5.0, MIN_INTERVAL_S, MAX_INTERVAL_S),
            # Two simulated nodes must not show the same noise, and one must show the same after a restart.
            seed=top.get("seed", int, zlib.crc32(node.encode())),
            state_directory=Path(top.get("state_directory", str, "/var/lib/iot-node")),
            spool_max_bytes=int(top.number("spool_max_bytes", 10_485_760, 65_536, 2**40)),
            log_level=level,
            gateway=Gateway(
                host=gateway.get("host", str),
                port=int(gateway.number("port", 1883, 1, 65535)),
                topic_prefix=gateway.get("topic_prefix", str, "telemetry"),
                commands_prefix=gateway.get("commands_prefix", str, "commands"),
                credentials_file=Path(gateway.get("credentials_file", str)),
                tls=_tls(gateway),
            ),
        )
        gateway.refuse_rest()
        top.refuse_rest()
        return config


def _tls(gateway: "_Table") -> Tls | None:
    ca, certificate, key = (gateway.get(name, str, "") for name in ("ca_file", "certificate_file", "key_file"))
    if bool(certificate) != bool(key) or (certificate and not ca):
        raise ConfigError("gateway.certificate_file and gateway.key_file need each other, and gateway.ca_file")
    return Tls(Path(ca), *(Path(path) if path else None for path in (certificate, key))) if ca else None


class _Table:
    """A TOML table whose keys are taken one by one, so that what is left over is a mistake."""

    _MISSING: Final = object()

    def __init__(self, prefix: str, content: Mapping[str, Any]):
        self._prefix = prefix
        self._content = dict(content)

    def get(self, key: str, kind: type, default: Any = _MISSING) -> Any:
        value = self._content.pop(key, default)
        if value is self._MISSING:
            raise ConfigError(f"{self._prefix}{key} is missing")
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise ConfigError(f"{self._prefix}{key}={value!r}: must be of type {kind.__name__}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self._content.pop(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ConfigError(f"{self._prefix}{key}={value!r}: must be a number from {low:g} to {high:g}")
        return value

    def refuse_rest(self) -> None:
        if self._content:
            names = ", ".join(f"{self._prefix}{key}" for key in sorted(self._content))
            raise ConfigError(f"unknown: {names}")
