"""Which architecture a bundle's applications get: what their constraints say, or the machines they are placed on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tabletop.bundles.placement import Placement
from tabletop.bundles.planned import Application
from tabletop.bundles.problems import Problems

_KEY = "arch"
_Machines = Mapping[str, Mapping[str, str]]


def settle(applications: Sequence[Application], machines: _Machines, problems: Problems) -> list[Application]:
    """Return the applications with the architecture that they get among their constraints.

    A charm is packed for one architecture, so all units of an application have the same.

    Args:
        applications: in an order in which they can be placed.
        machines: the constraints of the machines that the bundle declares.
        problems: takes what contradicts itself.
    """
    found: dict[str, Application] = {}
    for app in applications:
        wanted: dict[str, str] = {}
        if app.constraints.get(_KEY):
            wanted[app.constraints[_KEY]] = f"its constraints say arch={app.constraints[_KEY]}"
        for place in app.to:
            architecture = _of_place(place, machines, found)
            if architecture:
                wanted.setdefault(architecture, f"{_name(place)} is {architecture}")
        if len(wanted) > 1:
            problems.add(
                app.where,
                f"application {app.name!r}: {', '.join(wanted.values())}; its units must have one architecture",
            )
        found[app.name] = replace(app, constraints={**app.constraints, _KEY: next(iter(wanted))}) if wanted else app
    return list(found.values())


def _of_place(place: Placement, machines: _Machines, placed: Mapping[str, Application]) -> str:
    match place.kind:
        case "machine":
            return machines.get(place.target, {}).get(_KEY, "")
        case "unit":
            other = placed.get(place.target.partition("/")[0])
            return other.constraints.get(_KEY, "") if other else ""
        case "new":
            return ""


def _name(place: Placement) -> str:
    return f"machine {place.target}" if place.kind == "machine" else f"the machine of {place.target}"
