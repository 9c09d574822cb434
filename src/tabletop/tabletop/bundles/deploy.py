"""Carries out a plan: what is in the model already is left alone, what is missing is added."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tabletop.bundles.endpoints import End
from tabletop.bundles.placement import Placement
from tabletop.bundles.planned import Application, Plan, Relation
from tabletop.errors import TabletopError
from tabletop.status import section

Report = Callable[[str], None]


class Caller(Protocol):
    """Sends a request to the daemon."""

    def __call__(self, method: str, progress: Report | None = None, **params: Any) -> Any:
        """Return the result of a method."""
        ...


class Deployment:
    """One deployment of a plan into a model.

    Args:
        call: sends requests.
        model: the model's name.
        packed: returns the packed file of an application's charm, given its path and the application's constraints.
        report: told each step.
    """

    def __init__(
        self, call: Caller, model: str, packed: Callable[[Path, Mapping[str, str]], Path], report: Report
    ) -> None:
        self._call = call
        self._model = model
        self._packed = packed
        self._report = report
        self._machines: dict[str, str] = {}
        self._constraints: Mapping[str, Mapping[str, str]] = {}
        self._changed = False

    def run(self, plan: Plan) -> bool:
        """Carry it out; return whether anything was changed.

        Raises:
            TabletopError: an application of that name runs another charm, or the daemon refuses a step.
        """
        self._constraints = plan.machines
        status = self._status()
        there = section(status, "applications")
        for app in plan.applications:
            other = section(there, app.name).get("charm-name")
            if other and other != app.charm.name:
                raise TabletopError(
                    f"{app.where}: application {app.name!r} is there already, with charm {other!r} instead of "
                    f"{app.charm.name!r}; nothing was deployed"
                )
        for notice in (*plan.notices, *plan.ineffective):
            self._report(f"NOTICE {notice}")
        for app in plan.applications:
            units = sorted(section(section(there, app.name), "units"), key=_number)
            if app.name in there:
                self._remember_machines(app, units, status)
                self._compare_options(app)
                self._add_units(app, len(units))
            else:
                self._deploy(app)
        for relation in plan.relations:
            if not _related(status, relation):
                self._step(f"add relation {relation}")
                self._request("integrate", a=str(relation.provider), b=str(relation.requirer))
        return self._changed

    def _deploy(self, app: Application) -> None:
        charm = self._packed(app.charm.path, app.constraints)
        self._step(f"deploy application {app.name} from {app.charm.path}")
        settings: dict[str, Any] = {
            "app": app.name,
            "charm": str(charm),
            "config": dict(app.options),
            "resources": {name: str(path) for name, path in app.resources.items()},
            "constraints": dict(app.constraints),
            "trust": app.trust,
            "storage": dict(app.storage),
        }
        if not app.to:
            for _ in range(app.num_units):
                self._step(f"add a unit of {app.name} to a new machine")
            self._request("deploy", **settings, num_units=app.num_units, to=[])
            return
        # One by one: a place may be a machine that an earlier unit made.
        self._placed(app, 0, lambda to: self._request("deploy", **settings, num_units=1, to=to))
        self._add_units(app, 1)

    def _add_units(self, app: Application, have: int) -> None:
        for number in range(have, app.num_units):
            self._placed(app, number, lambda to: self._request("add_unit", app=app.name, num_units=1, to=to))

    def _placed(self, app: Application, number: int, add: Callable[[list[str]], None]) -> None:
        place = app.placement(number)
        to = self._resolve(place, number)
        wanted = self._constraints.get(place.target) if place.kind == "machine" else None
        if wanted and not to:
            to = [self._add_machine(place.target, {**app.constraints, **wanted})]
        self._step(f"add a unit of {app.name} to {f'machine {to[0]}' if to else 'a new machine'}")
        if place.kind != "machine" or to:
            add(to)
            return
        before = self._unit_machines()
        add(to)
        for unit, machine in self._unit_machines().items():
            if unit not in before and unit.partition("/")[0] == app.name:
                self._machines[place.target] = machine

    def _add_machine(self, target: str, constraints: Mapping[str, str]) -> str:
        self._step(
            f"add a machine, {target} of the bundle, with {' '.join(f'{k}={v}' for k, v in constraints.items())}"
        )
        added = self._call("add_machine", self._report, model=self._model, constraints=dict(constraints))
        number: str = added["machines"][0]
        self._machines[target] = number
        return number

    def _resolve(self, place: Placement, number: int) -> list[str]:
        if place.kind == "machine":
            known = self._machines.get(place.target)
            return [known] if known else []
        if place.kind == "unit":
            unit = place.target if "/" in place.target else f"{place.target}/{number}"
            machine = self._unit_machines().get(unit)
            if machine is None:
                raise TabletopError(f"can't place a unit on {unit}: there is no such unit")
            return [machine]
        return []

    def _remember_machines(self, app: Application, units: list[str], status: Mapping[str, Any]) -> None:
        """Take the units that are there as those that the plan placed, in their order."""
        machines = _machines_of(status)
        for number, unit in enumerate(units):
            place = app.placement(number)
            if place.kind == "machine":
                self._machines.setdefault(place.target, machines[unit])

    def _compare_options(self, app: Application) -> None:
        if not app.options:
            return
        settings = section(self._call("get_config", None, model=self._model, app=app.name), "settings")
        for name, wanted in app.options.items():
            value = section(settings, name).get("value")
            if value != wanted:
                self._report(f"NOTICE {app.name}: {name} is {value!r}, the bundle says {wanted!r}; left as it is")

    def _step(self, text: str) -> None:
        if not self._changed:
            self._changed = True
            self._report("Executing changes:")
        self._report(f"- {text}")

    def _request(self, method: str, **params: Any) -> None:
        self._call(method, self._report, model=self._model, **params)

    def _status(self) -> dict[str, Any]:
        return self._call("status", None, model=self._model)

    def _unit_machines(self) -> dict[str, str]:
        return _machines_of(self._status())


def _machines_of(status: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for app in section(status, "applications").values():
        for unit, body in section(app, "units").items():
            found[unit] = str(body.get("machine", ""))
    return found


def _related(status: Mapping[str, Any], relation: Relation) -> bool:
    def lists(end: End, other: End) -> bool:
        relations = section(section(section(status, "applications"), end.app), "relations")
        return any(row.get("related-application") == other.app for row in relations.get(end.endpoint.name, []))

    return lists(relation.provider, relation.requirer) and lists(relation.requirer, relation.provider)


def _number(unit: str) -> int:
    return int(unit.rpartition("/")[2])
