"""Flume's configuration files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from iot_charm.flume.agent import NAME

Properties = Mapping[str, str | int | bool]

SEGMENT_BYTES = 256 << 20
"""Size of one of a file channel's data files. Flume keeps at least two of them, whole, and its own default is 2 GiB."""


def render(sections: Sequence[tuple[str, Properties]]) -> str:
    """Write an agent's configuration.

    Args:
        sections: pairs of a prefix below the agent's name (``sinks.hdfs``) and the properties below that.
    """
    lines = ["# Written by the charm, which writes it anew when an option or a relation changes."]
    for prefix, properties in sections:
        lines.append("")
        base = f"{NAME}.{prefix}" if prefix else NAME
        lines += [f"{base}.{key} = {escape(_text(value))}" for key, value in properties.items()]
    return "\n".join(lines) + "\n"


def file_channel(directory: Path, *, capacity: int, transaction_capacity: int, keep_alive_s: int) -> Properties:
    """Return the properties of a channel whose events outlive the agent.

    Args:
        directory: its folder.
        capacity: events that it holds.
        transaction_capacity: events in one transaction.
        keep_alive_s: how long a source waits for room.
    """
    return {
        "type": "file",
        "checkpointDir": str(directory / "checkpoint"),
        # A checkpoint that was being written when the agent died would cost a replay of everything.
        "useDualCheckpoints": True,
        "backupCheckpointDir": str(directory / "checkpoint-backup"),
        "dataDirs": str(directory / "data"),
        "capacity": capacity,
        "transactionCapacity": transaction_capacity,
        "keep-alive": keep_alive_s,
        "maxFileSize": SEGMENT_BYTES,
    }


def escape(value: str) -> str:
    r"""Write a value for a Java properties file (``java.util.Properties.load``), which is Latin-1 with ``\uXXXX``."""
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    if escaped.startswith(" "):
        escaped = "\\" + escaped
    utf16 = ((character, character.encode("utf-16-be").hex()) for character in escaped)
    return "".join(
        character if " " <= character <= "~" else "".join(f"\\u{code[i : i + 4]}" for i in range(0, len(code), 4))
        for character, code in utf16
    )


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
