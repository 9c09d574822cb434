"""Jars by Maven: the runtime dependencies of a POM, copied into one folder."""

import hashlib
import logging
import re
import shutil
from pathlib import Path

from builder import process
from builder.errors import FetchError, ToolMissingError
from builder.recipe import Recipe

logger = logging.getLogger(__name__)

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ABSENT = re.compile(r"Could not find artifact (\S+)")
_UNREACHABLE = re.compile(r"Could not transfer artifact (\S+) from/to (.*?)(?: -> \[Help|$)", re.MULTILINE)


def copy_dependencies(recipe: Recipe, pom: str, destination: Path, *, repository: Path) -> None:
    """Copy the runtime dependencies of ``pom`` into ``destination``.

    Args:
        recipe: the resource.
        pom: file name of the POM in the recipe's folder.
        destination: the folder for the jars.
        repository: Maven's local repository, where it keeps what it downloaded.

    Raises:
        ToolMissingError: Maven is not installed.
        FetchError: an artifact can't be had; the text names it.
        NoSpaceError: the disk is full.
    """
    mvn = shutil.which("mvn")
    if mvn is None:
        raise ToolMissingError(f"{recipe.name}: Maven (mvn) is not installed: apt-get install maven")
    destination.mkdir(parents=True, exist_ok=True)
    repository.mkdir(parents=True, exist_ok=True)
    logger.info("%s: resolving %s with Maven", recipe.name, pom)
    code, output = process.run(
        [
            mvn,
            "--batch-mode",
            # A checksum that differs from the repository's own fails the build.
            "--strict-checksums",
            f"--file={recipe.folder / pom}",
            f"-Dmaven.repo.local={repository}",
            "-Dmaven.wagon.http.retryHandler.count=3",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={destination}",
            _PLUGIN,
        ],
        what=f"{recipe.name}: {pom}",
        cwd=repository,
        describe=_progress,
    )
    if code:
        raise FetchError(f"{recipe.name}: {_reason(output)}")


def verify(recipe: Recipe, root: Path) -> None:
    """Compare every jar that Maven brought with the recipe's checksums, if it has any.

    Raises:
        FetchError: a jar is missing, differs or is not listed; the text names the first.
    """
    if not recipe.checksums.is_file():
        return
    expected = {
        path: digest
        for digest, path in (
            line.split(maxsplit=1) for line in recipe.checksums.read_text(encoding="utf-8").splitlines()
        )
    }
    found = checksums(recipe, root)
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            fault = "is not listed" if path not in expected else "is missing" if path not in found else "differs"
            raise FetchError(
                f"{recipe.name}: {path} {fault} (compared with {recipe.checksums}); "
                "after a wanted change of versions: python resources/build.py --write-checksums " + recipe.name
            )


def checksums(recipe: Recipe, root: Path) -> dict[str, str]:
    """Return the SHA-256 of each jar that Maven brought, by its path under ``root``."""
    found: dict[str, str] = {}
    for directory in sorted(set(recipe.maven.values())):
        for path in sorted((root / directory).glob("*.jar")):
            with path.open("rb") as stream:
                found[path.relative_to(root).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _progress(lines: list[str]) -> str:
    fetched = [line.split()[4] for line in lines if "Downloaded from" in line and len(line.split()) > 4]
    if not fetched:
        return "working"
    return f"{len(fetched)} files downloaded, last {fetched[-1].rpartition('/')[2]}"


def _reason(output: str) -> str:
    errors = "\n".join(line.removeprefix("[ERROR] ") for line in output.splitlines() if line.startswith("[ERROR]"))
    if match := _ABSENT.search(errors):
        return f"Maven's repository has no {match.group(1)}: is the version right?"
    if match := _UNREACHABLE.search(errors):
        return (
            f"can't fetch {match.group(1)}: {match.group(2).rpartition(': ')[2].strip()}; is the network up, and is "
            "Maven set up for it (mirror or proxy in ~/.m2/settings.xml)?"
        )
    return f"Maven failed: {errors.splitlines()[0] if errors else output[-500:] or 'it wrote nothing'}"
