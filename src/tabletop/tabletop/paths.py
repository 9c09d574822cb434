"""Where tabletop keeps what it makes, and the names it gives to what the kernel holds for it."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_STATE = Path("/var/lib/tabletop")
_CACHE = Path("/var/cache/tabletop")
_RUN = Path("/run/tabletop")


@dataclass(frozen=True)
class Paths:
    """The three directories of one tabletop.

    Two tabletops with different state directories live side by side on one host: the names of their bridges,
    network namespaces, firewall tables and cgroups all begin with their own :attr:`tag`.
    """

    state: Path = _STATE
    """What must survive a reboot: machines, the model."""
    cache: Path = _CACHE
    """What can be made again: base images, downloaded packages."""
    run: Path = _RUN
    """What means nothing after a reboot: sockets."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Paths":
        """Take the directories from TABLETOP_STATE, TABLETOP_CACHE and TABLETOP_RUN, or their defaults."""
        return cls(
            state=Path(environment.get("TABLETOP_STATE") or _STATE),
            cache=Path(environment.get("TABLETOP_CACHE") or _CACHE),
            run=Path(environment.get("TABLETOP_RUN") or _RUN),
        )

    @property
    def tag(self) -> str:
        """``tabletop`` for the default state directory, ``tt`` and six hexadecimal digits for any other."""
        if self.state == _STATE:
            return "tabletop"
        return "tt" + hashlib.sha256(os.fsencode(self.state.absolute())).hexdigest()[:6]

    @property
    def coming_and_going(self) -> Path:
        """The lock of whoever starts or ends this tabletop; beside ``run``, for ``destroy`` removes that."""
        return self.run.with_name(f".{self.run.name}.lock")

    @property
    def machines(self) -> Path:
        """One directory a machine."""
        return self.state / "machines"

    @property
    def locks(self) -> Path:
        """Files that hold locks between processes; their contents mean nothing."""
        return self.state / "locks"
