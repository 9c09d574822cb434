"""The conformance charm on machines that are folders: each function of `ops.hookcmds`, from inside real dispatches."""

import inspect
import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ops import hookcmds
from world import World, making_world

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/conformance"))

import promises  # noqa: E402

pytestmark = pytest.mark.timeout(400)  # one set-up runs some hundred hook commands, each in Python's own time
FUNCTIONS = sorted(name for name in hookcmds.__all__ if inspect.isfunction(getattr(hookcmds, name)))


class Driver:
    """Drives the charm through the controller."""

    def __init__(self, world: World) -> None:
        self.world = world

    def act(self, unit: str, action: str, **params: Any) -> promises.Ended:
        task = self.world.action(unit, action, **params)
        return promises.Ended(task["status"], task["message"], task["results"], task["log"])

    def configure(self, app: str, **values: str) -> None:
        self.world.controller.set_config("m", app, values)
        self.world.settle()

    def settle(self) -> None:
        self.world.settle()


def pack(directory: Path) -> Path:
    """Pack the charm for the interpreter of the tests, which has ops."""
    unified = yaml.safe_load((promises.CHARM / "charmcraft.yaml").read_text())
    target = directory / "conformance.charm"
    with zipfile.ZipFile(target, "w") as archive:
        keys = ("name", "summary", "provides", "requires", "peers", "extra-bindings", "storage", "resources")
        archive.writestr("metadata.yaml", yaml.safe_dump({key: unified[key] for key in keys}))
        archive.writestr("config.yaml", yaml.safe_dump(unified["config"]))
        archive.writestr("actions.yaml", yaml.safe_dump(unified["actions"]))
        for path in (promises.CHARM / "src").rglob("*.py"):
            archive.write(path, str(path.relative_to(promises.CHARM)))
        info = zipfile.ZipInfo("dispatch")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, f"#!/bin/sh\nexec {sys.executable} ./src/charm.py\n")
    return target


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with making_world() as world:
        seed = world.directory / "seed.txt"
        seed.write_text("corn\n")
        charm = str(pack(world.directory))
        for app, options in (("left", {"num_units": 2}), ("right", {"trust": True})):
            world.controller.deploy("m", charm, app, resources={"seed": str(seed)}, **options)
        world.controller.integrate("m", "left:out", "right:in")
        world.settle()
        found = Driver(world)
        promises.prepare(found)
        yield found


@pytest.fixture(scope="module")
def reports(driver: Driver) -> list[dict[str, Any]]:
    return [promises.report(driver, unit) for unit in promises.UNITS]


def test_the_charm_covers_every_function_that_ops_has() -> None:
    script = (
        "import json, sys; sys.path.insert(0, 'src'); from checks import covered; print(json.dumps(sorted(covered())))"
    )

    out = subprocess.run([sys.executable, "-c", script], cwd=promises.CHARM, capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == FUNCTIONS
    assert len(FUNCTIONS) == 37


def test_every_check_of_each_role_is_fine(reports: list[dict[str, Any]]) -> None:
    assert [one["role"] for one in reports] == ["leader", "follower", "other"]


def test_every_function_was_seen_to_succeed_and_to_be_refused(reports: list[dict[str, Any]]) -> None:
    promises.every_function_succeeds_and_is_refused(reports, FUNCTIONS)


def test_an_action_can_fail(driver: Driver) -> None:
    promises.a_failed_action(driver)


@pytest.mark.parametrize("what", promises.OVERREACHES)
def test_an_overreach_is_refused_when_the_action_has_ended(driver: Driver, what: str) -> None:
    promises.an_overreach(driver, what)


def test_what_hooks_see(driver: Driver) -> None:
    promises.what_hooks_see(driver)


def test_a_secret_expires(driver: Driver) -> None:
    promises.an_expiring_secret(driver, driver.world.until)


def test_a_secret_is_rotated(driver: Driver) -> None:
    promises.a_rotated_secret(driver, driver.world.until, driver.world.rewind_rotation)


def test_a_charm_restarts_its_machine(driver: Driver) -> None:
    promises.a_restarted_machine(driver, driver.world.until)
