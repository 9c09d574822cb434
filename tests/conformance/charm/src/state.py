"""Where a unit stands: its role among the others, and the relations it is in."""

from dataclasses import dataclass
from typing import Literal

import ops

Role = Literal["leader", "follower", "other"]


@dataclass(frozen=True, slots=True)
class Place:
    """`leader` and `follower` are units of the application with two, `other` is one that is related to it."""

    role: Role
    unit: str
    app: str
    peers: tuple[str, ...]
    ring: int
    endpoint: str
    relation: int
    remote_app: str
    remote_unit: str

    @classmethod
    def of(cls, charm: ops.CharmBase) -> "Place":
        """Read it from a charm; it must be related."""
        ring = charm.model.relations["ring"][0]
        endpoint = "out" if charm.model.relations["out"] else "in"
        relation = charm.model.relations[endpoint][0]
        role: Role = "other" if endpoint == "in" else "leader" if charm.unit.is_leader() else "follower"
        return cls(
            role=role,
            unit=charm.unit.name,
            app=charm.app.name,
            peers=tuple(sorted(unit.name for unit in ring.units)),
            ring=ring.id,
            endpoint=endpoint,
            relation=relation.id,
            remote_app=relation.app.name,
            remote_unit=min(unit.name for unit in relation.units),
        )
