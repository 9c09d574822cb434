"""Which images of the cache are of use, and to whom."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tabletop.errors import TabletopError
from tabletop.image import images_directory
from tabletop.image_store import discard, prune_images, register, stored_images
from tabletop.machine_store import Machine, MachineStore
from tabletop.paths import Paths
from tabletop.recipe import Recipe
from tabletop.settings import remember_image_packages

Make = Callable[..., Path]


def recipe_of(include: tuple[str, ...] = (), architecture: str | None = None) -> Recipe:
    if architecture == "armhf":
        raise TabletopError("no sources for it")
    return Recipe("debian", "bookworm", architecture or "amd64", ("systemd", *include), "Types: deb\n")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(Recipe, "of_host", recipe_of)
    (tmp_path / "state").mkdir()
    return Paths(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


@pytest.fixture
def make(paths: Paths) -> Make:
    def made(key: str, architecture: str = "amd64", day: str = "", hours: float = 2) -> Path:
        path = (
            images_directory(paths) / f"bookworm-{architecture}-{key}-{day or time.strftime('%Y%m%d', time.gmtime())}"
        )
        for part in ("usr/lib/os-release", "usr/lib/systemd/systemd", "usr/bin/dash", "var/lib/dpkg/status"):
            (path / part).parent.mkdir(parents=True, exist_ok=True)
            (path / part).write_text("x" * 5000)
        os.utime(path, (time.time() - hours * 3600,) * 2)
        return path

    return made


def machine(paths: Paths, name: str, image: Path) -> None:
    MachineStore(paths).save(Machine(name, 2, "10.87.0.2", image.name, "bookworm-amd64", "uuid"))


def test_what_nothing_uses_goes_and_its_size_is_told(paths: Paths, make: Make) -> None:
    current, old, young = make(recipe_of().key), make("0123456789ab"), make("ba9876543210", hours=0.1)
    ((name, size),) = prune_images(paths)
    assert name == old.name
    assert 20_000 <= size <= 80_000
    assert sorted(images_directory(paths).iterdir()) == sorted([current, young])
    assert prune_images(paths) == []


def test_a_machine_keeps_its_image_whichever_tabletop_it_is_of(paths: Paths, make: Make, tmp_path: Path) -> None:
    ours, theirs = make("0123456789ab"), make("ba9876543210")
    other = Paths(tmp_path / "other", paths.cache, tmp_path / "other-run")
    machine(paths, "one", ours)
    machine(other, "two", theirs)
    register(other)
    assert [image.machines for image in stored_images(paths)] == [(f"{paths.tag}-one",), (f"{other.tag}-two",)]
    assert prune_images(paths) == []
    (tmp_path / "other").rename(tmp_path / "gone")
    assert [name for name, _ in prune_images(paths)] == [theirs.name]
    assert list((paths.cache / "tabletops").iterdir()) == [], "the note of a tabletop that is gone went too"


def test_what_a_tabletop_includes_keeps_its_image(paths: Paths, make: Make, tmp_path: Path) -> None:
    plain, with_git = make(recipe_of().key), make(recipe_of(("git",)).key)
    other = Paths(tmp_path / "other", paths.cache, tmp_path / "other-run")
    remember_image_packages(other, ["git"])
    register(other)
    assert all(image.current for image in stored_images(paths))
    remember_image_packages(other, [])
    assert [name for name, _ in prune_images(paths)] == [with_git.name]
    assert plain.is_dir()


def test_one_too_old_to_make_machines_of_goes(paths: Paths, make: Make) -> None:
    make(recipe_of().key, day="20250101")
    new = make(recipe_of().key)
    assert len(prune_images(paths)) == 1
    assert list(images_directory(paths).iterdir()) == [new]


def test_an_architecture_that_the_host_has_no_sources_of_is_left_alone(paths: Paths, make: Make) -> None:
    make("0123456789ab", "armhf")
    foreign = make(recipe_of((), "arm64").key, "arm64")
    assert prune_images(paths) == []
    assert foreign.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_one_that_an_overlay_lies_over_stays_without_any_record(paths: Paths, make: Make, tmp_path: Path) -> None:
    image = make("0123456789ab")
    for name in ("upper", "work", "root"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={image},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, tmp_path / "root"], check=True)
    try:
        assert [image.machines for image in stored_images(paths)] == [("a mounted one",)]
        assert prune_images(paths) == []
    finally:
        subprocess.run(["umount", tmp_path / "root"], check=True)
    assert len(prune_images(paths)) == 1


def test_a_removal_that_was_killed_is_finished(paths: Paths, make: Make) -> None:
    image = make("0123456789ab")
    image.rename(image.with_name(f".gone-{image.name}"))
    assert stored_images(paths) == []
    assert prune_images(paths) == []
    assert list(images_directory(paths).iterdir()) == []
    again = make("0123456789ab")
    discard(again)
    assert list(images_directory(paths).iterdir()) == []
