"""Runs the agents of one model, and brings it back after the death of the daemon that ran it."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tabletop.engine import applications, tasks
from tabletop.engine.agent import UnitAgent
from tabletop.engine.faults import StateError
from tabletop.engine.keeper import MachineKeeper
from tabletop.engine.model import Model
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
_JOIN = 5.0


class ModelRunner:
    """The threads of a model: one a unit, one a machine; they come and go with what the model holds."""

    def __init__(self, model: Model, machine_slots: threading.Semaphore) -> None:
        """Bring the model to where it can go on, and start its agents.

        Args:
            model: the model.
            machine_slots: how many machines may be made at once, of all models.
        """
        self.model = model
        self._slots = machine_slots
        self._lock = threading.Lock()
        self._agents: dict[str, UnitAgent] = {}
        self._keepers: dict[int, MachineKeeper] = {}
        self._recover()
        model.on_new_units = self.update
        self.update()

    def update(self) -> None:
        """Start the agents of units and machines that are new; to be called after each change of the model."""
        store = self.model.store
        with self._lock:
            with store.read():
                units = {row["name"] for row in store.all("SELECT name FROM unit")}
                numbers = {row["number"] for row in store.all("SELECT number FROM machine")}
            for name in set(self._agents) - units:
                del self._agents[name]
            for number in set(self._keepers) - numbers:
                del self._keepers[number]
            for number in sorted(numbers - set(self._keepers)):
                self._keepers[number] = MachineKeeper(self.model, number, self._slots)
                self._keepers[number].start()
            for name in sorted(units - set(self._agents)):
                self._agents[name] = UnitAgent(self.model, name)
                self._agents[name].start()

    def stop(self, patience: float) -> None:
        """Stop the agents, waiting so many seconds for hooks that run; after that, they run again in the end."""
        self._stop(kill=False, patience=patience)

    def destroy(self, progress: Callable[[str], None]) -> None:
        """Remove the model with its machines, without letting its units run their last hooks."""
        model, store = self.model, self.model.store
        try:
            with store.write():
                store.execute("UPDATE model SET life = 'dying'")
        except StateError as error:
            # A full disk is a reason to remove a model. If this is cut short, the model must be removed again.
            logger.warning("%s: its end can't be noted: %s", model.name, error)
        self._stop(kill=True, patience=_JOIN)
        remove(model, progress)

    def _stop(self, *, kill: bool, patience: float) -> None:
        with self._lock:
            agents, keepers = list(self._agents.values()), list(self._keepers.values())
        for agent in agents:
            agent.stop()
        for context in list(self.model.contexts.values()):
            if kill:
                context.cancel()
        _join(agents, patience)
        # After the agents: a keeper answers the tools of the hooks that still run.
        for keeper in keepers:
            keeper.stop()
        _join(keepers, _JOIN)

    def _recover(self) -> None:
        """End what a dead daemon was waiting for; the hooks among it run again, and actions are over."""
        model, store = self.model, self.model.store
        for row in store.all("SELECT number, name, incarnation FROM machine WHERE state = 'started'"):
            try:
                running = model.machines.incarnation(row["name"]) == row["incarnation"] != ""
                if running:
                    model.machines.end_abandoned(row["name"])
            except TabletopError as error:
                logger.warning("%s: %s", row["name"], error)
                running = False
            if not running:
                with store.write():
                    store.execute("UPDATE machine SET state = 'down' WHERE number = ?", row["number"])
        with store.write():
            tasks.abort_running(model, "tabletop ended while it ran")
        applications.forget_files(model)


def remove(model: Model, progress: Callable[[str], None]) -> None:
    """Remove a model that nothing works on any more, with its machines, and close it."""
    for row in model.store.all("SELECT name FROM machine ORDER BY number"):
        progress(f"destroying machine {row['name']}")
        model.machines.destroy(row["name"])
    model.close()
    remove_directory(model.directory)


def remove_directory(directory: Path) -> None:
    """Remove a model's directory: as far as anyone can see, at once."""
    gone = directory.with_name(f".{directory.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    directory.rename(gone)
    shutil.rmtree(gone)


def _join(threads: Sequence[threading.Thread], patience: float) -> None:
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
