"""Packages that one machine has downloaded serve the others.

Every machine has its own directory for apt, all of them in one that is bound into each machine: apt's locks and
``apt-get clean`` stay a machine's own affair, and a package passes from one to another as a hard link.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from tabletop.hosts_file import write_inside
from tabletop.image_content import PACKAGES_MOUNT
from tabletop.mounts import remove_tree
from tabletop.paths import Paths

_COMMON = "common"


@dataclass(frozen=True)
class PackagePool:
    """The packages of one kind of machine (suite and architecture)."""

    paths: Paths
    kind: str

    @property
    def directory(self) -> Path:
        """What is bound into the machines."""
        return self.paths.cache / "packages" / self.kind

    def join(self, member: str, root: Path) -> None:
        """Give a machine its directory, with all that is in the pool, and have its apt use it.

        Args:
            member: the machine's name among those of all tabletops that share the cache.
            root: its root directory.
        """
        common = self.directory / _COMMON
        common.mkdir(parents=True, exist_ok=True)
        own = self.directory / member
        (own / "partial").mkdir(parents=True, exist_ok=True)
        for package in common.glob("*.deb"):
            with contextlib.suppress(FileExistsError):
                (own / package.name).hardlink_to(package)
        settings = f'Dir::Cache::archives "{PACKAGES_MOUNT}/{member}";\n'
        write_inside(root / "etc/apt/apt.conf.d/92packages", settings)


def leave_pools(paths: Paths, member: str) -> None:
    """Take a machine's directory away; what it had downloaded stays with the others."""
    for own in (paths.cache / "packages").glob(f"*/{member}"):
        remove_tree(own)
