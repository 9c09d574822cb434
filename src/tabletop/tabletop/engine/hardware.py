"""What a machine is made of, as `juju status` says it."""

import functools
import json
import os
import platform

from tabletop.engine import architecture
from tabletop.engine.storagespec import parse_size

_MIB = 1 << 20


@functools.cache
def base() -> dict[str, str]:
    """Return the base of every machine: this machine's own distribution."""
    release = platform.freedesktop_os_release()
    return {"name": release["ID"], "channel": f"{release.get('VERSION_ID', 'unknown')}/stable"}


def characteristics(constraints: str) -> str:
    """Return a machine's architecture, cores and memory: this machine's own, but for what its constraints say.

    Args:
        constraints: the machine's, as the store keeps them.
    """
    wanted: dict[str, str] = json.loads(constraints or "{}")
    cores = str(wanted.get("cores") or os.cpu_count() or 1)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    if wanted.get("mem"):
        memory = min(memory, _mebibytes(str(wanted["mem"])) or memory)
    return f"arch={architecture.of_constraints(constraints)} cores={cores} mem={memory}M"


def _mebibytes(text: str) -> int:
    if text.isdecimal():
        # Juju's unit where none is given.
        return int(text)
    try:
        return parse_size(text)
    except ValueError:
        return 0
