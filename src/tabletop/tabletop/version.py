"""The version of Juju whose words and hook tools tabletop follows."""

import platform

JUJU_VERSION = "3.6.9"
"""What charms see as JUJU_VERSION: tabletop follows the behaviour of this release, as far as its README says."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386"}


def host_architecture() -> str:
    """Return this machine's architecture by its Debian name."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def client_version() -> str:
    """Return the version as `juju version` prints one: number, series, architecture."""
    return f"{JUJU_VERSION}-tabletop-{host_architecture()}"
