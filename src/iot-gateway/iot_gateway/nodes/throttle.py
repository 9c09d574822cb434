"""The throttle: how often an address may fail before its attempts are no longer looked at."""

import ipaddress
import time

FAILURES = 20
"""Failed attempts that an address may make at once..."""
PER_SECOND = 1 / 3
"""...and how fast it earns further ones."""
ADDRESSES = 4096


class Throttle:
    """A bucket of failures for each address; bounded, the address that was quiet longest is forgotten."""

    def __init__(self, failures: int = FAILURES, per_second: float = PER_SECOND, addresses: int = ADDRESSES):
        self._failures = failures
        self._per_second = per_second
        self._addresses = addresses
        self._buckets: dict[str, tuple[float, float]] = {}
        """Failures not yet forgiven, and when that was so."""

    def blocks(self, address: str) -> bool:
        """Tell whether attempts from ``address`` are not to be looked at now."""
        return self._level(_network(address)) > self._failures - 1

    def failed(self, address: str) -> None:
        """Note a failed attempt."""
        network = _network(address)
        level = self._level(network) + 1
        self._buckets.pop(network, None)
        if len(self._buckets) >= self._addresses:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = (min(level, self._failures), time.monotonic())

    def _level(self, network: str) -> float:
        level, at = self._buckets.get(network, (0.0, 0.0))
        return max(0.0, level - (time.monotonic() - at) * self._per_second)


def _network(address: str) -> str:
    """Return what counts as one address: whoever has one IPv6 address has the 2^64 beside it as well."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
