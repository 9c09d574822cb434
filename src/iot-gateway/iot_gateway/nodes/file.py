"""The file of nodes: JSON, written by whoever provisions nodes (the charm), read by the relay.

::

    {"nodes": {"kitchen": {"credential": "$7$101$...", "enabled": true, "protocols": ["mqtt"],
                           "keys": {"oscore-secret": "..."}}}}

All fields of a node may be left out.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import orjson
from msgspec import Meta, field

from iot_gateway.errors import ConfigError
from iot_gateway.nodes import credentials
from iot_gateway.nodes.node import NAME, NO_KEYS, Node
from iot_gateway.shapes import Shape, ShapeError
from iot_telemetry.names import NODE_NAME_WORDS

_Protocol = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]
_Key = Annotated[str, Meta(max_length=4096)]


class _Entry(Shape, frozen=True, kw_only=True):
    credential: str = ""
    enabled: bool = True
    protocols: frozenset[_Protocol] | None = None
    keys: dict[_Protocol, _Key] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if self.credential and not credentials.is_credential(self.credential):
            raise ValueError("credential: not of the form $7$<iterations>$<salt>$<hash>")


class _File(Shape, frozen=True, kw_only=True):
    nodes: dict[str, Any]


def read(path: Path) -> dict[str, Node]:
    """Read the nodes.

    Raises:
        ConfigError: the file can't be read, or is not what is expected; the text holds no secret.
    """
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error


def parse(content: bytes | str, where: str) -> dict[str, Node]:
    """Read the nodes of a file's content.

    Args:
        content: of the file.
        where: it is from, for messages.

    Raises:
        ConfigError: it is not what is expected; the text holds no secret.
    """
    try:
        found = _File.read(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{where}: no JSON: {error}") from error
    except ShapeError as error:
        raise ConfigError(f"{where}: {error}") from error
    return {name: _node(name, entry, where) for name, entry in found.nodes.items()}


def _node(name: str, content: Any, where: str) -> Node:
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"{where}: nodes: a node can't be called {name!r}: {NODE_NAME_WORDS}")
    try:
        entry = _Entry.read(content)
    except ShapeError as error:
        raise ConfigError(f"{where}: nodes.{name}{'.' if error.place else ': '}{error}") from error
    return Node(name, entry.credential, entry.enabled, entry.protocols, entry.keys or NO_KEYS)


def text(nodes: Iterable[Node]) -> str:
    """Return the content of a file of these nodes; the same nodes always make the same text.

    Raises:
        ValueError: a name is none that a node may have.
    """
    entries: dict[str, dict[str, Any]] = {}
    for node in nodes:
        if not re.fullmatch(NAME, node.name):
            raise ValueError(f"a node can't be called {node.name!r}")
        entry: dict[str, Any] = {"credential": node.credential, "enabled": node.enabled}
        if node.protocols is not None:
            entry["protocols"] = sorted(node.protocols)
        if node.keys:
            entry["keys"] = dict(node.keys)
        entries[node.name] = entry
    return orjson.dumps({"nodes": entries}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n"
