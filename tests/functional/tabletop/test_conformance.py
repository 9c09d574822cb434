"""The conformance charm on real machines, driven by jubilant: all of `ops.hookcmds`, from inside real dispatches."""

import inspect
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
from ops import hookcmds

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/conformance"))

import promises  # noqa: E402

TABLETOP = Path(sys.executable).parent / "tabletop"
FUNCTIONS = sorted(name for name in hookcmds.__all__ if inspect.isfunction(getattr(hookcmds, name)))
PATIENCE = 180.0

pytestmark = pytest.mark.timeout(600)


def tabletop(*words: str) -> None:
    ran = subprocess.run([TABLETOP, *words], text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def until(condition: Callable[[], Any]) -> Any:
    """Wait until something holds; return what it is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(1)
    raise AssertionError("it did not come true")


class Driver:
    """Drives the charm through jubilant."""

    def __init__(self, juju: jubilant.Juju, state: Path) -> None:
        self.juju = juju
        self.state = state

    def act(self, unit: str, action: str, **params: Any) -> promises.Ended:
        try:
            task = self.juju.run(unit, action, params, wait=PATIENCE)
        except jubilant.TaskError as error:
            task = error.task
        results = {**task.results, "return-code": task.return_code, "stdout": task.stdout, "stderr": task.stderr}
        return promises.Ended(task.status, task.message, results, task.log)

    def configure(self, app: str, **values: str) -> None:
        self.juju.config(app, values)
        self.settle()

    def settle(self) -> None:
        self.juju.wait(jubilant.all_agents_idle, error=jubilant.any_error, timeout=PATIENCE)

    def rewind(self, secret_id: str) -> None:
        """Let a secret's hour pass while the daemon is down."""
        tabletop("daemon", "stop")
        (path,) = self.state.rglob("model.db")
        with sqlite3.connect(path) as database:
            database.execute("UPDATE secret SET next_rotate = ? WHERE id = ?", (time.time(), secret_id))
        database.close()
        tabletop("daemon", "start")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Two applications on three machines of these tests' own; the images of the host's are shared."""
    # Not below /tmp: that may be a tmpfs, and machines are big.
    root = Path(f"/var/tmp/tabletop-conformance-{os.getpid()}")
    seed = tmp_path_factory.mktemp("conformance") / "seed.txt"
    seed.write_text("corn\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABLETOP_STATE", str(root))
        patch.setenv("TABLETOP_RUN", f"/run/{root.name}")
        patch.delenv("JUJU_MODEL", raising=False)
        tabletop("bootstrap")
        try:
            juju = jubilant.Juju(cli_binary=TABLETOP, wait_timeout=PATIENCE)
            juju.add_model("trial")
            juju.deploy(promises.CHARM, "left", num_units=2, resources={"seed": str(seed)})
            juju.deploy(promises.CHARM, "right", resources={"seed": str(seed)}, trust=True)
            juju.integrate("left:out", "right:in")
            juju.wait(jubilant.all_active, error=jubilant.any_error)
            made = Driver(juju, root)
            made.settle()
            promises.prepare(made)
            yield made
        finally:
            tabletop("destroy", "--no-prompt")


@pytest.fixture(scope="module")
def reports(driver: Driver) -> list[dict[str, Any]]:
    return [promises.report(driver, unit) for unit in promises.UNITS]


def test_every_function_was_seen_to_succeed_and_to_be_refused(reports: list[dict[str, Any]]) -> None:
    assert [one["role"] for one in reports] == ["leader", "follower", "other"]
    promises.every_function_succeeds_and_is_refused(reports, FUNCTIONS)


def test_an_action_can_fail(driver: Driver) -> None:
    promises.a_failed_action(driver)


@pytest.mark.parametrize("what", promises.OVERREACHES)
def test_an_overreach_is_refused_when_the_action_has_ended(driver: Driver, what: str) -> None:
    promises.an_overreach(driver, what)


def test_what_hooks_see(driver: Driver) -> None:
    promises.what_hooks_see(driver)


def test_a_secret_expires(driver: Driver) -> None:
    promises.an_expiring_secret(driver, until)


def test_a_secret_is_rotated(driver: Driver) -> None:
    promises.a_rotated_secret(driver, until, driver.rewind)


def test_a_charm_restarts_its_machine(driver: Driver) -> None:
    promises.a_restarted_machine(driver, until)
