"""From what a bundle's files say to a plan that can be carried out: every mistake is found first, and told at once."""

import base64
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabletop.bundles import constraints
from tabletop.bundles.architectures import settle
from tabletop.bundles.endpoints import resolve
from tabletop.bundles.placement import Placement, parse
from tabletop.bundles.planned import Application, Plan, Relation
from tabletop.bundles.problems import Problems
from tabletop.bundles.source import RawApplication, RawBundle, Value, read
from tabletop.charmfile import CharmError, CharmFile, OptionValue
from tabletop.engine.storagespec import directives
from tabletop.errors import TabletopError
from tabletop.reasons import NO_EXPOSING, NO_SPACES, NO_STORE, ONLY_SPACE
from tabletop.yamlfile import YamlError, as_list, as_mapping, kind_of, read_text


def plan(path: Path, overlays: Sequence[Path] = ()) -> Plan:
    """Read a bundle with its overlays, and check it against the metadata of its charms.

    Raises:
        YamlError: the bundle can't be read.
        BundleError: something in it is wrong; the text lists all of it.
    """
    problems = Problems()
    found = examine(read(path, overlays, problems), problems)
    problems.raise_if_any()
    return found


def examine(raw: RawBundle, problems: Problems, *, charms: Mapping[str, Path] | None = None) -> Plan:
    """Check what a bundle's files say; what is wrong goes to `problems`, and is left out of the plan.

    Args:
        raw: what they say.
        problems: takes what is wrong.
        charms: folders of charms by their names, to be read where a packed charm isn't there; if given, files of
            resources needn't be there either: nothing is to be deployed.
    """
    checker = _Checker(raw, problems, charms)
    applications = checker.applications()
    ineffective = checker.ineffective(applications)
    relations = checker.relations(applications)
    machines = checker.machines()
    ordered = settle(_in_order(applications, problems), machines, problems)
    return Plan(raw.name, tuple(ordered), tuple(relations), tuple(checker.notices), machines, tuple(ineffective))


_INEFFECTIVE = {
    "channel": NO_STORE,
    "revision": NO_STORE,
    "bindings": NO_SPACES,
    "expose": NO_EXPOSING,
}
"""Keys of an application that Juju heeds and that have no effect here, and why."""


class _Checker:
    def __init__(self, raw: RawBundle, problems: Problems, charms: Mapping[str, Path] | None) -> None:
        self._raw = raw
        self._problems = problems
        self._charms = charms
        self._units = {name: self._num_units(app) for name, app in raw.applications.items()}
        self.notices: list[str] = []

    def applications(self) -> dict[str, Application]:
        """Check each application; those whose charm can't be read are left out."""
        found: dict[str, Application] = {}
        for name, raw in self._raw.applications.items():
            charm = self._charm(name, raw)
            to = self._placements(name, raw)
            wanted = self._constraints(raw)
            trust = self._get(raw, "trust", bool, False)
            if charm is None:
                continue
            if charm.subordinate:
                self._check_subordinate(name, raw)
            found[name] = Application(
                name=name,
                where=raw.where,
                charm=charm,
                num_units=0 if charm.subordinate else self._units[name],
                options=self._options(charm, raw),
                resources=self._resources(charm, raw),
                to=to,
                constraints=wanted,
                storage=self._storage(charm, raw),
                trust=trust,
            )
        return found

    def ineffective(self, applications: Iterable[str]) -> list[str]:
        """Return what has no effect here, each key in one line."""
        found: list[str] = []
        for key, why in _INEFFECTIVE.items():
            who = [name for name in applications if self._asks_for(self._raw.applications[name], key)]
            if who:
                found.append(f"{key!r} of {', '.join(who)} has no effect: {why}")
        return found

    def machines(self) -> dict[str, dict[str, str]]:
        """Check the constraints of each machine."""
        found: dict[str, dict[str, str]] = {}
        for number, machine in self._raw.machines.items():
            text = as_mapping(machine.value).get("constraints") or ""
            found[number] = self._parse_constraints(str(text), machine.where)
        return found

    def relations(self, applications: Mapping[str, Application]) -> list[Relation]:
        """Check each relation of which both applications are known."""
        charms = {name: app.charm for name, app in applications.items()}
        found: dict[Relation, str] = {}
        for value in self._raw.relations:
            for first, second in self._pairs(value):
                unread = {text.partition(":")[0] for text in (first, second)} - charms.keys()
                if unread and unread <= self._raw.applications.keys():
                    continue
                try:
                    relation = Relation(*resolve(first, second, charms))
                except ValueError as error:
                    self._problems.add(value.where, str(error))
                    continue
                if relation in found:
                    self._problems.add(value.where, f"relation {relation} is given twice, first at {found[relation]}")
                found.setdefault(relation, value.where)
        for relation, where in found.items():
            for end in (relation.provider, relation.requirer):
                count = sum(end in (other.provider, other.requirer) for other in found)
                if end.endpoint.limit is not None and count > end.endpoint.limit:
                    limit = end.endpoint.limit
                    self._problems.add(where, f"{end} takes at most {limit} relation(s), the bundle has {count}")
        return list(found)

    def _pairs(self, value: Value) -> list[tuple[str, str]]:
        ends: list[list[str]] = []
        for end in as_list(value.value):
            listed = as_list(end) or [end]
            ends.append([text for text in listed if isinstance(text, str)])
        if len(ends) != 2 or not all(ends):
            self._problems.add(value.where, "a relation is a list of two, each application or application:endpoint")
            return []
        return [(first, second) for first in ends[0] for second in ends[1]]

    def _charm(self, name: str, raw: RawApplication) -> CharmFile | None:
        value = raw.keys.get("charm")
        if value is None:
            self._problems.add(raw.where, f"application {name!r} has no charm")
            return None
        text = str(value.value)
        path = _absolute(value.folder, text)
        if not path.exists() and self._charms:
            path = self._charms.get(path.stem, path)
        if not path.exists():
            known = "" if text.startswith((".", "/")) else f"; {NO_STORE}"
            self._problems.add(value.where, f"charm {text!r} of application {name!r}: no such file{known}")
            return None
        try:
            return CharmFile.open(path)
        except CharmError as error:
            self._problems.add(value.where, str(error))
            return None

    def _num_units(self, raw: RawApplication) -> int:
        number = self._get(raw, "num_units", int, 0)
        if number < 0:
            self._problems.add(raw.keys["num_units"].where, f"num_units must not be negative, got {number}")
        return max(0, number)

    def _check_subordinate(self, name: str, raw: RawApplication) -> None:
        for key in ("to", "constraints"):
            if key in raw.keys and raw.keys[key].value:
                self._problems.add(
                    raw.keys[key].where, f"{key}: {name!r} is subordinate, its units are where their principals are"
                )

    def _asks_for(self, raw: RawApplication, key: str) -> bool:
        if key == "expose":
            return self._get(raw, key, bool, False)
        if key == "bindings":
            return any(space.value != ONLY_SPACE for space in raw.bindings.values())
        return key in raw.keys

    def _options(self, charm: CharmFile, raw: RawApplication) -> dict[str, OptionValue]:
        found: dict[str, OptionValue] = {}
        for name, value in raw.options.items():
            option = charm.config.get(name)
            if option is None:
                known = ", ".join(charm.config) or "none"
                self._problems.add(value.where, f"charm {charm.name!r} has no option {name!r} (it has: {known})")
                continue
            if value.value is None:
                continue
            try:
                found[name] = option.parse(self._included(value))
            except (ValueError, YamlError) as error:
                self._problems.add(value.where, f"option {name!r} of charm {charm.name!r}: {error}")
        return found

    def _included(self, value: Value) -> object:
        """Return a value, or the text of the file that it says to include."""
        text = value.value
        if not isinstance(text, str):
            return text
        kind, separator, name = text.partition("://")
        path = value.folder / name
        if separator and kind == "include-file":
            return read_text(path)
        if separator and kind == "include-base64":
            try:
                return base64.b64encode(path.read_bytes()).decode()
            except OSError as error:
                raise YamlError(f"{path}: {error.strerror}") from error
        return text

    def _resources(self, charm: CharmFile, raw: RawApplication) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name, value in raw.resources.items():
            if name not in charm.resources:
                known = ", ".join(charm.resources) or "none"
                self._problems.add(value.where, f"charm {charm.name!r} has no resource {name!r} (it has: {known})")
                continue
            path = _absolute(value.folder, str(value.value))
            if self._charms is None and (isinstance(value.value, int) or not path.is_file()):
                self._problems.add(
                    value.where, f"resource {name!r} of charm {charm.name!r}: no such file: {value.value}"
                )
                continue
            found[name] = path
        return found

    def _storage(self, charm: CharmFile, raw: RawApplication) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in raw.storage.items():
            found[name] = str(value.value)
            try:
                directives(charm, {name: found[name]})
            except TabletopError as error:
                self._problems.add(value.where, str(error))
        return found

    def _placements(self, name: str, raw: RawApplication) -> tuple[Placement, ...]:
        value = raw.keys.get("to")
        if value is None or value.value in (None, []):
            return ()
        listed = as_list(value.value) or str(value.value).split(",")
        if len(listed) > self._units[name]:
            self._problems.add(value.where, f"{len(listed)} placements for {self._units[name]} unit(s) of {name!r}")
        found: list[Placement] = []
        for text in listed:
            try:
                place = parse(str(text).strip(), machines=self._raw.machines, units=self._units)
            except ValueError as error:
                self._problems.add(value.where, str(error))
                continue
            if place.container:
                self.notices.append(f"{value.where}: {text}: the unit gets a machine of its own, which is a container")
            found.append(place)
        return tuple(found)

    def _constraints(self, raw: RawApplication) -> dict[str, str]:
        text = self._get(raw, "constraints", str, "")
        return self._parse_constraints(text, raw.keys["constraints"].where) if text else {}

    def _parse_constraints(self, text: str, where: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in text.split():
            try:
                key, value = constraints.parse(word)
            except ValueError as error:
                self._problems.add(where, str(error))
                continue
            found[key] = value
        return found

    def _get(self, raw: RawApplication, key: str, kind: type, default: Any) -> Any:
        value = raw.keys.get(key)
        if value is None or value.value is None:
            return default
        if not isinstance(value.value, kind) or (kind is int and isinstance(value.value, bool)):
            wanted = {int: "a number", str: "a string", bool: "true or false"}[kind]
            self._problems.add(value.where, f"{key} must be {wanted}, not {kind_of(value.value)}")
            return default
        return value.value


def _absolute(folder: Path, text: str) -> Path:
    """Return a path as a person would write it: no `..` in it, links left as they are."""
    return Path(os.path.normpath((folder / text).absolute()))


def _in_order(applications: Mapping[str, Application], problems: Problems) -> list[Application]:
    """Order applications so that each comes after those that it is placed on."""
    ordered: dict[str, Application] = {}
    waiting = dict(applications)
    while waiting:
        ready = [
            name
            for name, app in waiting.items()
            if not any(place.kind == "unit" and place.target.partition("/")[0] in waiting for place in app.to)
        ]
        if not ready:
            first = next(iter(waiting.values()))
            problems.add(first.where, f"placements of {', '.join(waiting)} go in a circle")
            return []
        for name in ready:
            ordered[name] = waiting.pop(name)
    return list(ordered.values())
