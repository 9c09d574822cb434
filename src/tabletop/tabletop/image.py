"""The base image that every machine is an overlay over: built once from the host's package sources, then cached."""

import datetime
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabletop.emulation import ensure_emulation, is_emulated
from tabletop.errors import TabletopError
from tabletop.image_content import furnish, write_apt_settings, write_dpkg_settings
from tabletop.locks import locked
from tabletop.mounts import free_bytes, remove_tree
from tabletop.paths import Paths
from tabletop.progress import Progress, silent
from tabletop.recipe import Recipe

BYTES_NEEDED = 1_500_000_000
"""Free space that a build needs, its downloads and a margin included; the image alone is 0.4 GB."""
_VITAL = ("usr/lib/os-release", "usr/lib/systemd/systemd", "usr/bin/dash", "var/lib/dpkg/status")
_MAX_AGE = datetime.timedelta(days=14)
"""An older image is made anew: its package lists name versions that the archive may have dropped."""


@dataclass(frozen=True)
class Image:
    """A finished base image."""

    path: Path
    """Its root directory. Never written to: machines have it below their overlays."""
    kind: str
    """Suite and architecture, such as ``bookworm-amd64``."""

    @property
    def name(self) -> str:
        """Its name in the cache: kind, key of the recipe, day of the build."""
        return self.path.name


def images_directory(paths: Paths) -> Path:
    """Where finished images are; what is elsewhere does not count."""
    return paths.cache / "images"


def find_image(paths: Paths, recipe: Recipe, today: datetime.date | None = None) -> Image | None:
    """The newest cached image of a recipe, if one is there and is not too old."""
    newest = max(filter(is_whole, images_directory(paths).glob(f"{recipe.kind}-{recipe.key}-????????")), default=None)
    if newest is None:
        return None
    built = datetime.datetime.strptime(newest.name[-8:], "%Y%m%d").replace(tzinfo=datetime.UTC).date()
    now = today or datetime.datetime.now(datetime.UTC).date()
    return None if now - built > _MAX_AGE else Image(newest, recipe.kind)


def is_whole(image: Path) -> bool:
    """Whether an image has what a machine can't begin without; it is built whole, but someone may have spoilt it."""
    return all((image / part).is_file() for part in _VITAL)


def ensure_image(
    paths: Paths, *, include: Sequence[str] = (), architecture: str | None = None, progress: Progress = silent
) -> Image:
    """Find the base image in the cache, or build it.

    Args:
        paths: where the cache is.
        include: packages to put in beyond those that every machine has.
        architecture: dpkg's name of the machine's architecture; the host's own if None.
        progress: is told of each step of a build.

    Raises:
        TabletopError: it can't be built, and why. Nothing half-built is ever taken for an image.
    """
    recipe = Recipe.of_host(include, architecture)
    if image := find_image(paths, recipe):
        return image
    with locked(paths.cache / "build.lock", lambda: progress("Base image: waiting for a build under way")) as lock:
        if image := find_image(paths, recipe):
            return image
        return _build(paths, recipe, progress, lock)


def _build(paths: Paths, recipe: Recipe, progress: Progress, lock: int) -> Image:
    partial = paths.cache / "partial"
    remove_tree(partial)  # of a build that was killed
    free = free_bytes(paths.cache)
    if free < BYTES_NEEDED:
        raise TabletopError(
            f"The base image needs {BYTES_NEEDED / 1e9:.1f} GB free in {paths.cache}, which has {free / 1e9:.1f} GB: "
            f"free some, or set TABLETOP_CACHE to a directory on a larger disk."
        )
    today = datetime.datetime.now(datetime.UTC)
    final = images_directory(paths) / f"{recipe.kind}-{recipe.key}-{today:%Y%m%d}"
    root = partial / "root"
    partial.mkdir(parents=True)
    emulated = is_emulated(recipe.architecture)
    ensure_emulation(recipe.architecture, progress)
    progress(
        f"Base image: building {recipe.kind} with {len(recipe.packages)} packages and what they need"
        + (", which takes about 4 minutes under emulation" if emulated else "")
    )
    try:
        _bootstrap(partial, root, recipe, progress, lock)
        progress("Base image: configuring")
        furnish(root, recipe)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            progress(f"Base image: {final.name} was damaged, and is replaced")
            final.rename(partial / "damaged")
        root.rename(final)
    finally:
        remove_tree(partial)
    progress(f"Base image: {final.name} is ready")
    return Image(final, recipe.kind)


def _bootstrap(partial: Path, root: Path, recipe: Recipe, progress: Progress, lock: int) -> None:
    sources = partial / "tabletop.sources"
    sources.write_text(recipe.sources)
    argv = [
        # A build whose builder is killed ends too, instead of writing on beside the next one.
        *("setpriv", "--pdeathsig", "TERM", "mmdebstrap"),
        *("--mode=root", "--format=directory", "--variant=minbase", f"--architectures={recipe.architecture}"),
        *("--skip=cleanup/apt/lists", "--skip=cleanup/apt/cache"),
        f"--aptopt={write_apt_settings(partial, recipe)}",
        f"--dpkgopt={write_dpkg_settings(partial)}",
        # Manual pages are left out, but some packages' scripts (a JRE's) put links to theirs and fail without these.
        """--essential-hook=for n in 1 2 3 4 5 6 7 8; do mkdir -p "$1/usr/share/man/man$n"; done""",
        f"--include={','.join(recipe.packages)}",
        *(recipe.suite, str(root), str(sources)),
    ]
    kept = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    environment = {**kept, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "TMPDIR": str(partial)}
    said: list[str] = []
    with subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=(lock,),  # while it lives, nobody else builds
    ) as process:
        assert process.stderr is not None  # noqa: S101  (asked for above)
        for line in process.stderr:
            said.append(line.strip())
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                progress(f"Base image: {line[3:].strip().rstrip('.')}")
    if process.returncode != 0:
        errors = [line for line in said if line.startswith(("E:", "W:"))] or said
        raise TabletopError(f"The base image could not be built: {' / '.join(errors[-4:])}")
