"""The relay's metrics, from its status."""

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iot_gateway.exposition import Exposition
from iot_gateway.histogram import Histogram

_PREFIX = "iot_gateway_"
_LISTENERS = (
    ("payloads", "counter", "listener_received_total", "Payloads taken."),
    ("malformed_payloads", "counter", "listener_malformed_total", "Payloads that became dead letters."),
    ("refused", "counter", "listener_refused_total", "Connections or requests refused."),
    ("clients", "gauge", "listener_clients", "Clients that are connected, or registered."),
    ("queued", "gauge", "listener_queued", "Messages that wait at the broker for the listener."),
    ("connected", "gauge", "listener_up", "Whether the listener works."),
)
_OUTBOXES = (
    ("entries", "gauge", "outbox_entries", "Entries that are not confirmed."),
    ("bytes", "gauge", "outbox_bytes", "Bytes that are not confirmed."),
    ("used_bytes", "gauge", "outbox_used_bytes", "Bytes that the outbox takes on disk."),
    ("max_bytes", "gauge", "outbox_max_bytes", "Bytes that the outbox may take on disk."),
    ("free_bytes", "gauge", "outbox_disk_free_bytes", "Bytes free on the outbox's disk."),
    ("oldest_seconds", "gauge", "outbox_oldest_seconds", "Age of the oldest entry that is not confirmed."),
    ("appended_bytes", "counter", "outbox_appended_bytes_total", "Bytes appended since the start."),
)
_LANES = (
    ("confirmed", "counter", "uplink_confirmed_entries_total", "Entries confirmed by the other end since the start."),
    ("messages_confirmed", "counter", "uplink_confirmed_messages_total", "Messages confirmed since the start."),
    ("messages_resent", "counter", "uplink_resent_messages_total", "Messages sent again since the start."),
    ("messages_in_flight", "gauge", "uplink_messages_in_flight", "Messages sent and not yet covered by a checkpoint."),
    ("backlog", "gauge", "uplink_backlog", "Whether what waited for the link is still being sent."),
)


def text(status: Mapping[str, Any], latencies: Mapping[str, Histogram]) -> str:
    """Return the metrics in Prometheus' text format.

    Args:
        status: of the relay.
        latencies: from sending to the confirm, by lane.
    """
    made = Exposition()
    info = made.family(f"{_PREFIX}info", "gauge", "What the gateway is called.")
    info.add(1, site=status["site"], gateway=status["gateway"])
    made.single(f"{_PREFIX}readings_total", "counter", "Readings taken since the start.", status["readings"])
    made.single(f"{_PREFIX}waiting_bytes", "gauge", "Payload bytes that wait for the disk.", status["waiting_bytes"])
    made.single(
        f"{_PREFIX}refusing", "gauge", "Whether nothing is stored and acknowledged now.", bool(status["refusal"])
    )
    _add(made, "listener", status["listeners"], _LISTENERS)
    _add(made, "lane", status["outbox"], _OUTBOXES)
    dropped = made.family(
        f"{_PREFIX}outbox_dropped_total", "counter", "Entries dropped without a confirm since the outbox was made."
    )
    for lane, outbox in status["outbox"].items():
        for cause, count in outbox["dropped_total"].items():
            dropped.add(count, lane=lane, cause=cause)
    made.single(f"{_PREFIX}uplink_connected", "gauge", "Whether the uplink works.", status["uplink"]["connected"])
    connections = status["uplink"].get("connections")
    if connections is not None:
        made.single(f"{_PREFIX}uplink_connections_total", "counter", "Connections made since the start.", connections)
    _add(made, "lane", status["forwarders"], _LANES)
    latency = made.family(f"{_PREFIX}uplink_confirm_seconds", "histogram", "From sending a message to its confirm.")
    for lane, histogram in latencies.items():
        latency.add_histogram(histogram, lane=lane)
    commands = made.family(f"{_PREFIX}commands", "gauge", "Commands on the desk by state.")
    for state, count in status["commands"]["by_state"].items():
        commands.add(count, state=state)
    made.single(
        f"{_PREFIX}commands_untold",
        "gauge",
        "Changes of commands' states that are not among the readings yet.",
        status["commands"]["untold"],
    )
    made.single(f"{_PREFIX}nodes", "gauge", "Nodes that may speak to the gateway.", status["nodes"]["known"])
    made.single(
        f"{_PREFIX}admissions_refused_total",
        "counter",
        "Attempts of nodes that were not let in since the start.",
        status["nodes"]["refused"],
    )
    _add_process(made, status["started"])
    return made.text()


def _add(made: Exposition, label: str, statuses: Mapping[str, Mapping[str, Any]], families: Any) -> None:
    for field, kind, name, help_text in families:
        values = {key: status[field] for key, status in statuses.items() if status.get(field) is not None}
        if values:
            family = made.family(_PREFIX + name, kind, help_text)
            for key, value in values.items():
                family.add(value, **{label: key})


def _add_process(made: Exposition, started: float) -> None:
    """Add what Prometheus' own clients say of a process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    made.single("process_cpu_seconds_total", "counter", "CPU time, user and system.", used.ru_utime + used.ru_stime)
    made.single("process_resident_memory_bytes", "gauge", "Resident memory.", pages * os.sysconf("SC_PAGE_SIZE"))
    made.single("process_start_time_seconds", "gauge", "Start, in seconds since the epoch.", started)
    made.single("process_open_fds", "gauge", "Open files.", len(list(Path("/proc/self/fd").iterdir())))
