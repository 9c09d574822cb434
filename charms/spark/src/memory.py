"""Amounts of memory as operators write them: ``1g``, ``768m`` or ``20%``."""

import re
from pathlib import Path

LEAST_MB = 512
"""Spark refuses less than 450 MiB."""

MOST_MB = 1024 * 1024

MEMINFO = Path("/proc/meminfo")


def check(text: str) -> str:
    """Check an amount.

    Raises:
        ValueError: it is none, or out of the range.
    """
    if match := re.fullmatch(r"(\d{1,7})([mg])", text):
        megabytes = int(match[1]) * (1024 if match[2] == "g" else 1)
        if LEAST_MB <= megabytes <= MOST_MB:
            return text
    elif (match := re.fullmatch(r"(\d{1,3})%", text)) and 1 <= int(match[1]) <= 100:
        return text
    raise ValueError("must be a number with m or g, 512m to 1024g, or a percentage, 1% to 100%")


def amount(text: str) -> str:
    """Return a checked amount as Spark takes it; a percentage is one of this machine's memory."""
    if not text.endswith("%"):
        return text
    return f"{max(LEAST_MB, _total_mb() * int(text[:-1]) // 100)}m"


def _total_mb() -> int:
    # What a container is allowed shows here, and not in sysconf(3).
    (total,) = re.findall(r"^MemTotal:\s+(\d+) kB$", MEMINFO.read_text(), re.MULTILINE)
    return int(total) // 1024
