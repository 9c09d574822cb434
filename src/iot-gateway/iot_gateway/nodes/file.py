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
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from iot_gateway.errors import ConfigError
from iot_gateway.nodes import credentials
from iot_gateway.nodes.node import NAME, Node

_Name = Annotated[str, StringConstraints(pattern=NAME)]
_Protocol = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
_Key = Annotated[str, StringConstraints(max_length=4096)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    credential: str = ""
    enabled: bool = True
    protocols: frozenset[_Protocol] | None = None
    keys: dict[_Protocol, _Key] = Field(default_factory=dict)

    @field_validator("credential")
    @classmethod
    def _readable(cls, credential: str) -> str:
        if credential and not credentials.is_credential(credential):
            raise ValueError("not of the form $7$<iterations>$<salt>$<hash>")
        return credential


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    nodes: dict[_Name, _Entry]


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
        found = _File.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ConfigError(f"{where}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    return {
        name: Node(name, entry.credential, entry.enabled, entry.protocols, entry.keys or Node("").keys)
        for name, entry in found.nodes.items()
    }


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
