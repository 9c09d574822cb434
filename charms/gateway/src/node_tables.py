"""Nodes and strangers as rows of a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import relay
from iot_gateway.nodes import Node
from state import RelatedNode


@dataclass(frozen=True)
class Row:
    """A node, as ``list-nodes`` shows it."""

    name: str
    state: str
    """``connected``, ``away``, ``disabled``, or ``unknown`` while the relay does not run."""
    protocols: str
    """That it may use."""
    by: str
    """The protocols by which it has a connection now; CoAP and ZeroMQ tell of none."""
    last_seen: str
    """ISO 8601, UTC; empty for one that did not come since the relay's start."""
    address: str
    added_by: str
    """``action``, or the unit that is related."""

    def as_dict(self) -> dict[str, str]:
        """Return the row as a JSON object."""
        return asdict(self)


def rows(
    added: Iterable[Node],
    related: Mapping[str, RelatedNode],
    suspended: frozenset[str],
    states: Mapping[str, Mapping[str, Any]] | None,
) -> list[Row]:
    """Return all nodes in the order of their names.

    Args:
        added: by an operator.
        related: by name.
        suspended: related ones that are disabled.
        states: what the relay knows of them; None if it does not run.
    """
    found = [
        *((node.name, node.enabled, node.protocols, "action") for node in added),
        *((name, name not in suspended, relay.RELATED_PROTOCOLS, node.unit.name) for name, node in related.items()),
    ]
    made: list[Row] = []
    for name, enabled, protocols, by in sorted(found):
        seen = (states or {}).get(name, {})
        made.append(
            Row(
                name=name,
                state=_state(enabled, seen, known=states is not None),
                protocols=",".join(sorted(protocols)) if protocols is not None else "all",
                by=",".join(seen.get("connected", ())),
                last_seen=iso(seen.get("last_seen", 0.0)),
                address=seen.get("address", ""),
                added_by=by,
            )
        )
    return made


def _state(enabled: bool, seen: Mapping[str, Any], *, known: bool) -> str:
    if not enabled:
        return "disabled"
    if not known:
        return "unknown"
    return "connected" if seen.get("connected") else "away"


def table(shown: Sequence[Row]) -> str:
    """Return rows for an operator to read."""
    header = ("name", "state", "protocols", "by", "last seen", "address", "added by")
    return aligned([header, *(tuple(row.as_dict().values()) for row in shown)])


def strangers_table(strangers: Sequence[Mapping[str, Any]]) -> str:
    """Return unknown nodes that tried, for an operator to read."""
    header = ("name", "protocol", "address", "tries", "first", "last")
    return aligned(
        [
            header,
            *(
                (
                    each["name"],
                    each["protocol"],
                    each["address"],
                    str(each["count"]),
                    iso(each["first"]),
                    iso(each["last"]),
                )
                for each in strangers
            ),
        ]
    )


def iso(seconds: float) -> str:
    """Return a time (s since the epoch) in ISO 8601, UTC; nothing for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells with their columns below each other."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
