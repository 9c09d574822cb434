"""The conformance charm on machines that are folders: each function of `ops.hookcmds`, from inside real dispatches."""

import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from world import World, making_world

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests/conformance"))

import conforming  # noqa: E402

pytestmark = pytest.mark.timeout(400)  # one set-up runs some hundred hook commands, each in Python's own time


class Driver:
    """Drives the charm through the controller."""

    def __init__(self, world: World) -> None:
        self.world = world

    def act(self, unit: str, action: str, **params: Any) -> conforming.Ended:
        task = self.world.action(unit, action, **params)
        return conforming.Ended(task["status"], task["message"], task["results"], task["log"])

    def configure(self, app: str, **values: str) -> None:
        self.world.controller.set_config("m", app, values)
        self.world.settle()

    def settle(self) -> None:
        self.world.settle()

    def until(self, condition: Callable[[], Any]) -> Any:
        return self.world.until(condition)

    def rewind(self, secret_id: str) -> None:
        self.world.rewind_rotation(secret_id)


def pack(directory: Path) -> Path:
    """Pack the charm for the interpreter of the tests, which has ops."""
    unified = yaml.safe_load((conforming.CHARM / "charmcraft.yaml").read_text())
    target = directory / "conformance.charm"
    with zipfile.ZipFile(target, "w") as archive:
        keys = ("name", "summary", "provides", "requires", "peers", "extra-bindings", "storage", "resources")
        archive.writestr("metadata.yaml", yaml.safe_dump({key: unified[key] for key in keys}))
        archive.writestr("config.yaml", yaml.safe_dump(unified["config"]))
        archive.writestr("actions.yaml", yaml.safe_dump(unified["actions"]))
        for path in (conforming.CHARM / "src").rglob("*.py"):
            archive.write(path, str(path.relative_to(conforming.CHARM)))
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
        conforming.prepare(found)
        yield found


def test_the_charm_covers_every_function_that_ops_has() -> None:
    script = (
        "import json, sys; sys.path.insert(0, 'src'); from checks import covered; print(json.dumps(sorted(covered())))"
    )

    out = subprocess.run(
        [sys.executable, "-c", script], cwd=conforming.CHARM, capture_output=True, text=True, check=True
    )
    assert json.loads(out.stdout) == conforming.FUNCTIONS
    assert len(conforming.FUNCTIONS) == 37


class TestConformance(conforming.Conformance):
    """On machines that are folders."""
