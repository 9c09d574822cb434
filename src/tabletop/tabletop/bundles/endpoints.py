"""Which endpoints two applications are related by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tabletop.charmfile import CharmFile, Endpoint

_COUNTERPART = {"provider": "requirer", "requirer": "provider"}


@dataclass(frozen=True, slots=True)
class End:
    """One end of a relation."""

    app: str
    endpoint: Endpoint

    def __str__(self) -> str:
        """As Juju writes it."""
        return f"{self.app}:{self.endpoint.name}"


def resolve(first: str, second: str, charms: Mapping[str, CharmFile]) -> tuple[End, End]:
    """Find the two ends that `app[:endpoint]` twice means; the provider comes first.

    Raises:
        ValueError: there is no such pair, or there are several; the text says which.
    """
    ends = [_candidates(text, charms) for text in (first, second)]
    pairs = [(a, b) for a in ends[0] for b in ends[1] if _fit(a, b)]
    # What every charm has without saying so counts only where nothing else fits.
    explicit = [pair for pair in pairs if not any(_implicit(end, charms) for end in pair)]
    pairs = explicit or pairs
    if pairs and pairs[0][0].app == pairs[0][1].app:
        raise ValueError(f"{pairs[0][0].app!r} can't be related to itself")
    if len(pairs) > 1:
        listed = "; ".join(f"{a} {b}" for a, b in pairs)
        raise ValueError(f"{first} and {second} can be related in several ways: {listed}")
    if not pairs:
        raise ValueError(_why_not(first, second, ends[0], ends[1]))
    a, b = pairs[0]
    return (a, b) if a.endpoint.role == "provider" else (b, a)


def _candidates(text: str, charms: Mapping[str, CharmFile]) -> list[End]:
    app, _, name = text.partition(":")
    charm = charms.get(app)
    if charm is None:
        raise ValueError(f"{app!r} isn't an application of the bundle")
    if not name:
        return [End(app, endpoint) for endpoint in charm.endpoints.values()]
    if name not in charm.endpoints:
        known = ", ".join(sorted({**charm.provides, **charm.requires})) or "none"
        raise ValueError(f"{app!r} has no endpoint {name!r} (it has: {known})")
    return [End(app, charm.endpoints[name])]


def _fit(a: End, b: End) -> bool:
    return a.endpoint.interface == b.endpoint.interface and _COUNTERPART.get(a.endpoint.role) == b.endpoint.role


def _implicit(end: End, charms: Mapping[str, CharmFile]) -> bool:
    return charms[end.app].is_implicit(end.endpoint.name)


def _why_not(first: str, second: str, ends_a: list[End], ends_b: list[End]) -> str:
    if len(ends_a) == len(ends_b) == 1:
        a, b = ends_a[0].endpoint, ends_b[0].endpoint
        if a.interface != b.interface:
            return f"{first} speaks interface {a.interface!r}, {second} speaks {b.interface!r}: they can't be related"
        return f"{first} and {second} are both {a.role}s of {a.interface!r}: they can't be related"
    return f"no endpoint of {first} fits one of {second} ({_listed(ends_a)}; {_listed(ends_b)})"


def _listed(ends: list[End]) -> str:
    def each() -> Iterator[str]:
        for end in ends:
            if end.endpoint.interface != "juju-info":
                yield f"{end} {end.endpoint.role} of {end.endpoint.interface}"

    return ", ".join(each()) or "none"
