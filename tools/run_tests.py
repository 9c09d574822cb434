#!/usr/bin/env python3
"""Run the unit tests, or the functional ones: a pytest for each folder, as many at once as there are processors.

    tools/run_tests.py unit|functional [FOLDER...] [pytest options]

unit: each package and each charm by itself, since every charm has modules named charm and state. Each must keep 90 % of
its branches covered, unless --no-cov is given; what is left out of that, and why, stands in pyproject.toml.

functional: each folder of tests/functional. They share neither ports nor names.

Options that choose tests may leave a folder without any.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from chain import ROOT
from side_by_side import Job, SideBySide

SLOWEST = (
    "tests/functional/tabletop",
    "tests/functional/flume",
    "tests/functional/gateway",
    "src/tabletop",
    "src/iot-gateway",
)
"""What is begun first, so that it isn't waited for alone at the end."""
NO_TESTS = 5
"""pytest's exit status when it found none."""
COVERAGE = (
    "--cov-branch",
    f"--cov-config={ROOT}/pyproject.toml",
    "--cov-report=term:skip-covered",
    "--cov-fail-under=90",
)


def unit(data: Path) -> Iterator[Job]:
    """Return the unit tests; `data` is a folder for what coverage notes."""
    for package in sorted(ROOT.glob("src/*/")):
        name = str(package.relative_to(ROOT))
        if (package / "tests").is_dir():
            yield _pytest(name, "-q", f"{name}/tests", f"--cov={name}", *COVERAGE, data=data)
    for charm in sorted(ROOT.glob("charms/*/")):
        name = str(charm.relative_to(ROOT))
        own = ("-c", f"{ROOT}/pyproject.toml", "--rootdir", ".", "-o", f"pythonpath={charm}/src")
        yield _pytest(name, "-q", *own, "tests/unit", "--cov=src", *COVERAGE, data=data, folder=charm)
    for name in ("resources/tests", "tools/tests"):
        yield _pytest(name, "-q", name, data=data)


def functional(data: Path) -> Iterator[Job]:
    """Return the functional tests, each folder's."""
    for folder in sorted(ROOT.glob("tests/functional/*/")):
        if any(folder.glob("test_*.py")):
            name = str(folder.relative_to(ROOT))
            yield _pytest(name, "-v", name, "--timeout=300", "--durations=15", data=data)


def _pytest(name: str, *words: str, data: Path, folder: Path = ROOT) -> Job:
    environment = {"COVERAGE_FILE": str(data / name.replace("/", "-")), "PYTHONUNBUFFERED": "1"}
    return Job(name, (sys.executable, "-m", "pytest", *words), folder, environment)


def chosen(jobs: Sequence[Job], words: Sequence[str]) -> list[Job]:
    """Return the jobs of the folders that are named, or all of them, with the options, the slowest first."""
    names = {job.name for job in jobs}
    folders = {word.strip("/") for word in words} & names
    options = tuple(word for word in words if word.strip("/") not in names)
    good = frozenset({0, NO_TESTS}) if options else frozenset({0})
    found = [
        Job(job.name, (*job.command, *options), job.folder, job.environment, good)
        for job in jobs
        if not folders or job.name in folders
    ]
    return sorted(found, key=lambda job: SLOWEST.index(job.name) if job.name in SLOWEST else len(SLOWEST))


def main(words: Sequence[str]) -> int:
    """Run them; 1 if any fails."""
    kinds = {"unit": unit, "functional": functional}
    if not words or words[0] not in kinds:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="coverage-") as data:
        jobs = chosen(list(kinds[words[0]](Path(data))), words[1:])
        failed = SideBySide(min(len(jobs), os.cpu_count() or 1), partial(print, flush=True)).run(jobs)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
