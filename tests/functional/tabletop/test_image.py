"""Building a base image for real, in a cache of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabletop.image import ensure_image, images_directory
from tabletop.mounts import mounts_below, remove_tree
from tabletop.paths import Paths

pytestmark = pytest.mark.timeout(600)

_BUILD = (
    "import sys; from pathlib import Path; from tabletop.image import ensure_image; from tabletop.paths import Paths\n"
    "ensure_image(Paths(cache=Path(sys.argv[1])), progress=lambda line: print(line, flush=True))\n"
)


@pytest.fixture
def own() -> Iterator[Paths]:
    cache = Path(f"/var/tmp/tabletop-image-{os.getpid()}")
    yield Paths(cache / "state", cache, cache / "run")
    remove_tree(cache)


def test_a_killed_build_leaves_nothing_that_counts(own: Paths) -> None:
    with subprocess.Popen([sys.executable, "-c", _BUILD, str(own.cache)], stdout=subprocess.PIPE, text=True) as build:
        assert build.stdout is not None
        for line in build.stdout:
            if "installing essential packages" in line:
                break
        build.send_signal(signal.SIGKILL)
    assert (own.cache / "partial").is_dir()
    assert not images_directory(own).exists()

    said: list[str] = []
    began = time.monotonic()
    image = ensure_image(own, progress=said.append)
    print(f"image built in {time.monotonic() - began:.1f} s")
    assert not (own.cache / "partial").exists()
    assert mounts_below(own.cache) == []
    assert list(images_directory(own).iterdir()) == [image.path]
    # The killed build's own programs are gone too: nobody writes here any more.
    assert not subprocess.run(["pgrep", "-f", f"{own.cache}/"], capture_output=True, check=False).stdout

    root = image.path
    assert (root / "etc/machine-id").read_text() == ""
    assert list((root / "var/lib/apt/lists").glob("*Packages*")), "packages can be installed without an update first"
    assert not list((root / "usr/share/man").rglob("*.gz"))
