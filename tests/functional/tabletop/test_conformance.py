"""The conformance charm on real machines, driven by jubilant: all of `ops.hookcmds`, from inside real dispatches."""

import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jubilant
import pytest
from own_tabletop import Juju, do

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/conformance"))

import conforming  # noqa: E402

PATIENCE = 180.0

pytestmark = pytest.mark.timeout(600)


class Driver:
    """Drives the charm through jubilant."""

    def __init__(self, juju: jubilant.Juju, state: Path) -> None:
        self.juju = juju
        self.state = state

    def act(self, unit: str, action: str, **params: Any) -> conforming.Ended:
        try:
            task = self.juju.run(unit, action, params, wait=PATIENCE)
        except jubilant.TaskError as error:
            task = error.task
        results = {**task.results, "return-code": task.return_code, "stdout": task.stdout, "stderr": task.stderr}
        return conforming.Ended(task.status, task.message, results, task.log)

    def configure(self, app: str, **values: str) -> None:
        self.juju.config(app, values)
        self.settle()

    def settle(self) -> None:
        self.juju.wait(jubilant.all_agents_idle, error=jubilant.any_error, timeout=PATIENCE)

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(1)
        raise AssertionError("it did not come true")

    def rewind(self, secret_id: str) -> None:
        """Let a secret's hour pass while the daemon is down."""
        do("daemon", "stop")
        (path,) = self.state.rglob("model.db")
        with sqlite3.connect(path) as database:
            database.execute("UPDATE secret SET next_rotate = ? WHERE id = ?", (time.time(), secret_id))
        database.close()
        do("daemon", "start")


@pytest.fixture(scope="module")
def driver(own_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """Two applications on three machines of these tests' own."""
    seed = tmp_path_factory.mktemp("conformance") / "seed.txt"
    seed.write_text("corn\n")
    juju = Juju(wait_timeout=PATIENCE)
    juju.add_model("trial")
    juju.deploy(conforming.CHARM, "left", num_units=2, resources={"seed": str(seed)})
    juju.deploy(conforming.CHARM, "right", resources={"seed": str(seed)}, trust=True)
    juju.integrate("left:out", "right:in")
    juju.wait(jubilant.all_active, error=jubilant.any_error)
    made = Driver(juju, own_state)
    made.settle()
    conforming.prepare(made)
    return made


class TestConformance(conforming.Conformance):
    """On real machines."""
