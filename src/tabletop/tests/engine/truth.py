"""What a model is to be once its commands are carried out: what they say, written down again beside the engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

DEFAULTS = {"word": "none", "secret": ""}


@dataclass(frozen=True)
class App:
    """An application that isn't being removed; `build` is that of its charm."""

    units: frozenset[str] = frozenset()
    config: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    build: int = 0


@dataclass(frozen=True)
class Truth:
    """The applications, their relations as (client, server), and the next number of each name's units."""

    apps: Mapping[str, App] = field(default_factory=dict)
    relations: frozenset[tuple[str, str]] = frozenset()
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def units(self) -> list[str]:
        return sorted(unit for app in self.apps.values() for unit in app.units)

    def add_units(self, name: str, count: int) -> "Truth":
        start = self.numbers.get(name, 0)
        units = frozenset(f"{name}/{start + number}" for number in range(count))
        apps = {**self.apps, name: replace(self.apps[name], units=self.apps[name].units | units)}
        return replace(self, apps=apps, numbers={**self.numbers, name: start + count})

    def deploy(self, name: str, count: int, build: int) -> "Truth":
        return replace(self, apps={**self.apps, name: App(build=build)}).add_units(name, count)

    def remove_unit(self, unit: str) -> "Truth":
        name = unit.partition("/")[0]
        app = replace(self.apps[name], units=self.apps[name].units - {unit})
        return replace(self, apps={**self.apps, name: app})

    def remove_application(self, name: str) -> "Truth":
        return replace(
            self,
            apps={key: app for key, app in self.apps.items() if key != name},
            relations=frozenset(pair for pair in self.relations if name not in pair),
        )

    def integrate(self, client: str, server: str) -> "Truth":
        return replace(self, relations=self.relations | {(client, server)})

    def remove_relation(self, client: str, server: str) -> "Truth":
        return replace(self, relations=self.relations - {(client, server)})

    def configure(self, name: str, values: Mapping[str, str], reset: tuple[str, ...] = ()) -> "Truth":
        config = {**self.apps[name].config, **{key: DEFAULTS[key] for key in reset}, **values}
        return replace(self, apps={**self.apps, name: replace(self.apps[name], config=config)})

    def refresh(self, name: str, build: int) -> "Truth":
        return replace(self, apps={**self.apps, name: replace(self.apps[name], build=build)})


def observed(status: Mapping[str, Any], configs: Mapping[str, Mapping[str, str]]) -> Truth:
    """Return what a status shows, without what is being removed, and without the numbers that are used up."""
    apps = {
        name: App(
            frozenset(unit for unit, one in app["units"].items() if one["juju-status"].get("life", "alive") == "alive"),
            configs[name],
            int(app["charm-version"]),
        )
        for name, app in status["applications"].items()
        if app.get("life", "alive") == "alive"
    }
    relations = {
        (one["requirer"].partition(":")[0], one["provider"].partition(":")[0])
        for one in status["relations"]
        if one["type"] == "regular"
    }
    return Truth(apps, frozenset(pair for pair in relations if apps.keys() >= set(pair)))
