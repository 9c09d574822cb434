"""Commands for an operator to read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from node_tables import aligned, iso


def results(command: Mapping[str, Any]) -> dict[str, Any]:
    """Return an action's results for one command, as the desk shows it."""
    return {
        "id": command["id"],
        "node": command["node"],
        "target": command["target"],
        "value": json.dumps(command["value"]),
        "state": command["state"],
        "reason": command["reason"],
        "expires": iso(command["expires"]),
        "all": json.dumps(command),
    }


def table(commands: Sequence[Mapping[str, Any]]) -> str:
    """Return commands, a line each; ``since`` is when they came into their state."""
    header = ("id", "node", "target", "value", "state", "since", "reason")
    return aligned(
        [
            header,
            *(
                (
                    command["id"],
                    command["node"],
                    command["target"],
                    json.dumps(command["value"]),
                    command["state"],
                    iso(command["steps"][-1]["time"]),
                    command["reason"],
                )
                for command in commands
            ),
        ]
    )
