"""Real readings of the machine that the node runs on."""

import re
from typing import Self

import psutil

from iot_node.profiles.base import Measurement, Profile


class Host(Profile):
    """Load, processor, memory, disk, network, and temperatures where the machine has sensors."""

    def __init__(self) -> None:
        psutil.cpu_percent(interval=None)  # it gives the share since the last call; the first call only starts it

    @classmethod
    def create(cls, seed: int) -> Self:  # noqa: ARG003 - nothing is simulated
        """Make one; ``seed`` has nothing to do here."""
        return cls()

    def sample(self, time: float) -> list[Measurement]:  # noqa: ARG002 - it is always now
        """Read every sensor once, now.

        Returns:
            Load averages as counts of processes, the processor's use as a ratio, bytes of memory and of the root file
            system, bytes that all network interfaces but loopback received and sent since the machine started
            (octets are ``B`` in the registry), temperatures in degrees Celsius.
        """
        load1, load5, load15 = psutil.getloadavg()
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage("/")
        interfaces = [counters for name, counters in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        return [
            Measurement("load-1m", "count", round(load1, 3)),
            Measurement("load-5m", "count", round(load5, 3)),
            Measurement("load-15m", "count", round(load15, 3)),
            Measurement("cpu-used", "/", round(psutil.cpu_percent(interval=None) / 100, 4)),
            Measurement("memory-total", "B", memory.total),
            Measurement("memory-available", "B", memory.available),
            Measurement("disk-total", "B", disk.total),
            Measurement("disk-free", "B", disk.free),
            Measurement("network-received", "B", sum(counters.bytes_recv for counters in interfaces)),
            Measurement("network-sent", "B", sum(counters.bytes_sent for counters in interfaces)),
            *_temperatures(),
        ]


def _temperatures() -> list[Measurement]:
    if not hasattr(psutil, "sensors_temperatures"):
        return []
    found: dict[str, float] = {}
    for chip, entries in sorted(psutil.sensors_temperatures().items()):
        for number, entry in enumerate(entries):
            found.setdefault(_slug("temperature", chip, entry.label or str(number)), entry.current)
    return [Measurement(name, "Cel", round(value, 2)) for name, value in found.items()]


def _slug(*words: str) -> str:
    """Join words to a name of the characters that a SenML name may have."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")
