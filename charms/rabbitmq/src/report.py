"""Queues in words and tables, for a status line and for the results of actions. No I/O."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from management import Queue
from topology import DEAD_LETTER_QUEUE, QUEUE

SUMMED_UP: Final = rf"^({re.escape(QUEUE)}|{re.escape(DEAD_LETTER_QUEUE)})$"
"""Matches the names of the queues that :func:`summary` looks at."""


def summary(version: str, queues: Iterable[Queue]) -> str:
    """Say in a line that the broker is ready and what waits in it."""
    ready = {QUEUE: 0, DEAD_LETTER_QUEUE: 0}
    for queue in queues:
        if queue.name in ready:
            ready[queue.name] += queue.ready + queue.unacknowledged
    parts = [f"RabbitMQ {version}"]
    if ready[QUEUE]:
        parts.append(f"{ready[QUEUE]:,} batches queued")
    if ready[DEAD_LETTER_QUEUE]:
        parts.append(f"{ready[DEAD_LETTER_QUEUE]:,} dead letters")
    return f"Ready ({', '.join(parts)})"


def results(queues: Sequence[Queue]) -> dict[str, Any]:
    """Return an action's results: totals, a table for people and the same as JSON for programs."""
    return {
        "count": len(queues),
        "dead-letters": sum(queue.ready + queue.unacknowledged for queue in queues if queue.name == DEAD_LETTER_QUEUE),
        "queues": _table(queues),
        "json": json.dumps([vars(queue) for queue in queues]),
    }


def listeners(nodes: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return a line for each listener of the nodes that ``rabbitmqctl cluster_status`` reports."""
    return "\n".join(
        f"{node}: {listener['protocol']} on {listener['interface']}:{listener['port']} ({listener['purpose']})"
        for node, found in sorted(nodes.items())
        for listener in found
    )


def _table(queues: Sequence[Queue]) -> str:
    header = ("vhost", "queue", "type", "ready", "unacked", "consumers", "bytes")
    rows = [
        header,
        *(
            (q.vhost, q.name, q.type, f"{q.ready:,}", f"{q.unacknowledged:,}", str(q.consumers), f"{q.bytes:,}")
            for q in queues
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
