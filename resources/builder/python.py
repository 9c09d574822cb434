"""Python packages by uv (or pip where uv is not installed), pinned with hashes."""

import importlib.util
import logging
import shutil
import sys
from pathlib import Path

from builder import process
from builder.errors import FetchError, ToolMissingError
from builder.recipe import Recipe

logger = logging.getLogger(__name__)


def install(recipe: Recipe, root: Path, *, scratch: Path, cache: Path) -> None:
    """Install the recipe's requirements, laid out as its ``[python]`` table says.

    Args:
        recipe: the resource.
        root: the folder that becomes the top of the tarball.
        scratch: an empty folder on the same disk.
        cache: where uv keeps what it downloaded.

    Raises:
        ToolMissingError: neither uv nor pip is installed.
        FetchError: a package can't be had, or its hash differs from the pinned one.
        NoSpaceError: the disk is full.
    """
    site = scratch / "site-packages"
    scratch.mkdir(parents=True, exist_ok=True)
    logger.info("%s: installing %s", recipe.name, recipe.requirements.name)
    code, output = process.run(
        [
            *_installer(recipe, cache),
            f"--target={site}",
            "--no-deps",
            "--require-hashes",
            f"--requirement={recipe.requirements}",
        ],
        what=f"{recipe.name}: Python packages",
        cwd=scratch,
        describe=lambda lines: lines[-1].strip()[:100] if lines else "downloading",
    )
    if code:
        reason = " ".join(output.split())[-600:]
        raise FetchError(f"{recipe.name}: can't install {recipe.requirements}: {reason}")
    # What is named more precisely moves first, so that the rest can take what remains.
    for source, target in sorted(recipe.python.items(), key=lambda item: -len(item[0])):
        move(site / source, root / target)


def move(source: Path, target: Path) -> None:
    """Move ``source`` to ``target``, into what may already be there."""
    if not source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        return
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        return
    for child in sorted(source.iterdir()):
        move(child, target / child.name)


def _installer(recipe: Recipe, cache: Path) -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is not None:
        command = [uv, "pip", "install", "--no-progress", f"--python={sys.executable}", f"--cache-dir={cache}"]
        constraints = recipe.folder / "build-constraints.txt"
        return [*command, f"--build-constraints={constraints}"] if constraints.is_file() else command
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", f"--cache-dir={cache}", "--no-compile"]
    raise ToolMissingError("neither uv nor pip is installed: apt-get install python3-pip")
