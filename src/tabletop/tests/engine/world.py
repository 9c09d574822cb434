"""A controller on machines that are folders, and charms whose hooks do what a test writes down."""

import stat
import sys
import time
import zipfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from host_machines import HostMachines
from leftovers import short_directory

from tabletop.engine.command import Call
from tabletop.engine.controller import Controller
from tabletop.engine.model import Settings

CHARMS = Path(__file__).parent / "charms"
PATIENCE = 60.0
SETTINGS = Settings(retry_first=0.2, retry_max=0.5, machine_poll=0.2, secret_retry=1.0, juju_directory=None)


def pack(name: str, directory: Path, dispatch: str, extra: Mapping[str, str] | None = None) -> Path:
    """Pack a test charm, with its own metadata and what all of them share."""
    target = directory / f"{name}.charm"
    files: dict[str, bytes] = {}
    for folder in (CHARMS / "common", CHARMS / name):
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in (".py", ".yaml"):
                files[str(path.relative_to(folder))] = path.read_bytes()
    files.update({path: text.encode() for path, text in (extra or {}).items()})
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        info = zipfile.ZipInfo("dispatch")
        info.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(info, dispatch)
    return target


class World:
    """One controller with the model `m`; its files are under `directory`."""

    def __init__(self, directory: Path, settings: Settings = SETTINGS) -> None:
        self.directory = directory
        self.settings = settings
        self.machines = HostMachines(directory / "machines")
        self.lines: list[str] = []
        self.call = Call(self.lines.append)
        self.controller = Controller(directory / "state", self.machines, settings)
        self.controller.add_model("m")

    def restart(self) -> None:
        """Stop the controller and make another that takes up its state."""
        self.controller.stop()
        self.controller = Controller(self.directory / "state", self.machines, self.settings)

    def close(self) -> None:
        """Destroy the models, and stop the controller even if that fails."""
        try:
            for model in self.controller.models():
                self.controller.destroy_model(self.call, model["name"])
        finally:
            self.controller.stop()

    def charm(self, name: str, extra: Mapping[str, str] | None = None) -> Path:
        """Pack a charm whose hooks are a shell script that follows `behave`."""
        script = (CHARMS / "common" / "dispatch.sh").read_text().replace("@world@", str(self.directory))
        return pack(name, self.directory, script, extra)

    def ops_charm(self, name: str) -> Path:
        """Pack the same charm as a real one, on ops."""
        return pack(name, self.directory, f"#!/bin/sh\nexec {sys.executable} ./src/charm.py\n")

    def deploy(self, charm: str, app: str, **options: Any) -> None:
        """Deploy a charm of `charms` under a name."""
        self.controller.deploy("m", str(self.charm(charm)), app, **options)

    def behave(self, who: str, hook: str, script: str) -> None:
        """Let a unit (`db-0`), or `any`, do something in a hook."""
        path = self.directory / "behaviour" / who / hook
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script + "\n")

    def forget(self, who: str, hook: str) -> None:
        """Take `behave` back."""
        (self.directory / "behaviour" / who / hook).unlink()

    def status(self) -> dict[str, Any]:
        """Return the model's status."""
        return self.controller.status("m")

    def units(self) -> dict[str, Any]:
        """Return the status of each unit."""
        return {name: unit for app in self.status()["applications"].values() for name, unit in app["units"].items()}

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until something holds; return what it returned."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what or condition} did not come true; units: {self.units()}")

    def settle(self) -> dict[str, Any]:
        """Wait until no unit has anything to do; return their status."""

        def idle() -> dict[str, Any]:
            units = self.units()
            done = all(unit["juju-status"]["current"] == "idle" for unit in units.values())
            return units if done else {}

        return self.until(idle, "every unit being idle") if self.units() else {}

    def settle_well(self) -> None:
        """Wait until no unit has anything to do and none is in error."""
        self.until(lambda: all(unit["workload-status"]["current"] != "error" for unit in self.settle().values()))

    def events(self, unit: str) -> list[str]:
        """Return the hooks a unit began, as `hook remote departing`."""
        return [line.split(" ", 1)[1] for line in self._lines("events") if line.split()[0] == unit]

    def all_events(self) -> list[str]:
        """Return the hooks all units began."""
        return self._lines("events")

    def clear(self) -> None:
        """Forget the events so far."""
        (self.directory / "events").unlink(missing_ok=True)

    def exec(self, unit: str, script: str) -> tuple[int, str, str]:
        """Run a script in a hook's context; return its exit code and what it printed."""
        result = self.controller.exec(self.call, "m", unit, script=script, timeout=PATIENCE)
        return result["return-code"], result.get("stdout", ""), result.get("stderr", "")

    def out(self, unit: str, script: str) -> str:
        """Run a script in a hook's context, which must succeed; return what it printed."""
        code, out, err = self.exec(unit, f"set -e; {script}")
        assert code == 0, err
        return out.strip()

    def refused(self, unit: str, script: str) -> str:
        """Run a script in a hook's context, which must fail; return its standard error."""
        code, _, err = self.exec(unit, script)
        assert code != 0, f"{script} was not refused"
        return err.strip()

    def action(self, unit: str, action: str, **params: Any) -> dict[str, Any]:
        """Run an action to its end."""
        queued = self.controller.run_action("m", [unit], action, params)
        (task,) = queued["tasks"].values()
        return self.controller.wait_task(self.call, "m", task, timeout=PATIENCE)

    def rewind_rotation(self, secret_id: str) -> None:
        """Let a secret be due for its rotation now, as if its time had come."""
        store = self.controller._model("m").store
        with store.write():
            store.execute("UPDATE secret SET next_rotate = ? WHERE id = ?", time.time(), secret_id)

    def log(self, level: str = "DEBUG") -> str:
        """Return all of the debug log as text."""
        lines: Iterable[dict[str, Any]] = self.controller.debug_log("m", level=level)["lines"]
        return "\n".join(f"{line['entity']} {line['level']} {line['module']} {line['message']}" for line in lines)

    def _lines(self, name: str) -> list[str]:
        path = self.directory / name
        return [line.strip() for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def making_world(settings: Settings = SETTINGS) -> Generator[World]:
    """Make a world, and end it with its machines."""
    with short_directory() as directory:
        made = World(directory, settings)
        try:
            yield made
        finally:
            made.close()
