import dataclasses
import datetime
import os
import threading
from pathlib import Path

import pytest

from tabletop.errors import TabletopError
from tabletop.image import ensure_image, find_image, images_directory
from tabletop.locks import locked
from tabletop.paths import Paths
from tabletop.recipe import Recipe

RECIPE = Recipe("debian", "bookworm", "amd64", ("systemd",), "Types: deb\n")
TODAY = datetime.date(2026, 11, 24)
VITAL = ("usr/lib/os-release", "usr/lib/systemd/systemd", "usr/bin/dash", "var/lib/dpkg/status")


def make_image(path: Path) -> Path:
    for part in VITAL:
        (path / part).parent.mkdir(parents=True, exist_ok=True)
        (path / part).touch()
    return path


def test_only_a_finished_recent_image_counts(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "state", tmp_path / "cache")
    assert find_image(paths, RECIPE, TODAY) is None
    (paths.cache / "partial/root").mkdir(parents=True)
    assert find_image(paths, RECIPE, TODAY) is None
    make_image(images_directory(paths) / f"bookworm-amd64-{RECIPE.key}-20261101")
    assert find_image(paths, RECIPE, TODAY) is None
    new = make_image(images_directory(paths) / f"bookworm-amd64-{RECIPE.key}-20261120")
    found = find_image(paths, RECIPE, TODAY)
    assert found is not None
    assert (found.path, found.name, found.kind) == (new, new.name, "bookworm-amd64")
    for part in VITAL:
        (new / part).rename(tmp_path / "aside")
        assert find_image(paths, RECIPE, TODAY) is None, "a damaged one doesn't count"
        (tmp_path / "aside").rename(new / part)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_named_before_anything_is_built(small_disk: Path) -> None:
    paths = Paths(small_disk / "state", small_disk / "cache")
    with pytest.raises(TabletopError, match=rf"needs 1\.5 GB free in {small_disk}/cache, which has 0\.0 GB"):
        ensure_image(paths)
    assert not (paths.cache / "partial").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
def test_a_build_that_fails_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, said = Paths(tmp_path / "state", tmp_path / "cache"), list[str]()
    (paths.cache / "partial/root/half").mkdir(parents=True)  # of an earlier build that was killed
    broken = dataclasses.replace(
        Recipe.of_host(), sources=f"Types: deb\nURIs: file://{tmp_path}/nothing\nSuites: bookworm\nComponents: main\n"
    )
    monkeypatch.setattr(Recipe, "of_host", lambda include, architecture: broken)
    with pytest.raises(TabletopError, match="could not be built: "):
        ensure_image(paths, progress=said.append)
    assert said[0].startswith("Base image: building")
    assert not (paths.cache / "partial").exists()
    assert find_image(paths, broken) is None


def test_a_build_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, said = Paths(tmp_path / "state", tmp_path / "cache"), list[str]()
    monkeypatch.setattr(Recipe, "of_host", lambda include, architecture: RECIPE)
    today = datetime.datetime.now(datetime.UTC)
    final = images_directory(paths) / f"{RECIPE.kind}-{RECIPE.key}-{today:%Y%m%d}"
    waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    with locked(paths.cache / "build.lock"):
        other = threading.Thread(target=ensure_image, args=(paths,), kwargs={"progress": say})
        other.start()
        assert waiting.wait(10)
        make_image(final)
    other.join(10)
    assert said == ["Base image: waiting for a build under way"]
