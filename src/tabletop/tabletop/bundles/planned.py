"""What a bundle comes to, once it was found to be right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tabletop.bundles.endpoints import End
from tabletop.bundles.placement import Placement
from tabletop.charmfile import CharmFile, OptionValue


@dataclass(frozen=True, slots=True)
class Application:
    """An application as it is to be deployed."""

    name: str
    where: str
    charm: CharmFile
    num_units: int
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    resources: Mapping[str, Path] = field(default_factory=dict[str, Path])
    to: tuple[Placement, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict[str, str])
    storage: Mapping[str, str] = field(default_factory=dict[str, str])
    trust: bool = False

    def placement(self, unit: int) -> Placement:
        """Return the place of a unit: where placements are fewer than units, one on an application counts on."""
        if unit < len(self.to):
            return self.to[unit]
        last = self.to[-1] if self.to else Placement("new")
        return last if last.kind == "unit" and "/" not in last.target else Placement("new")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation; its first end provides."""

    provider: End
    requirer: End

    def __str__(self) -> str:
        """As Juju writes it."""
        return f"{self.provider} - {self.requirer}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A bundle that was found to be right; its applications stand in an order in which they can be placed."""

    name: str
    applications: tuple[Application, ...]
    relations: tuple[Relation, ...]
    notices: tuple[str, ...] = ()
    machines: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """The constraints of the machines that the bundle declares, by their numbers in it."""
    ineffective: tuple[str, ...] = ()
    """What the bundle asks for that has no effect here; with Juju it has, so it is no mistake."""
