"""What machines are, as `juju status` says it: their base, architecture, cores and memory."""

import functools
import json
import os
import platform

from tabletop.engine import architecture, constraints


@functools.cache
def base() -> dict[str, str]:
    """Return the base of every machine: this machine's own distribution."""
    release = platform.freedesktop_os_release()
    return {"name": release["ID"], "channel": f"{release.get('VERSION_ID', 'unknown')}/stable"}


def characteristics(kept: str) -> str:
    """Return what a machine has, given its constraints as the store keeps them."""
    return constraints.hardware(architecture.of_constraints(kept), json.loads(kept or "{}"), _host())


@functools.cache
def _host() -> tuple[int, int]:
    """This host's cores and its memory in bytes."""
    return os.cpu_count() or 1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
