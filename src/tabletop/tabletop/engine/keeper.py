"""Keeps one machine as the model wants it: made, running, answering hook tools, gone with its last unit."""

import json
import logging
import shutil
import threading
import time

from tabletop.boot import Bind
from tabletop.engine import constraints as constraints_of
from tabletop.engine import storage
from tabletop.engine.model import Model
from tabletop.engine.toolserver import ToolServer, install_tools
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)


class MachineKeeper(threading.Thread):
    """Brings a machine up, brings it back when it has died, and removes it in the end."""

    def __init__(self, model: Model, number: int, slots: threading.Semaphore) -> None:
        """Make the keeper of a machine; `start` begins its work.

        Args:
            model: the model.
            number: the machine's number.
            slots: how many machines may be made at once.
        """
        super().__init__(name=f"machine-{model.name}-{number}", daemon=True)
        self._model = model
        self.number = number
        self._slots = slots
        self._stopping = threading.Event()
        self._server: ToolServer | None = None
        self._retry_at = 0.0
        self._retry_delay = model.settings.retry_first
        self._checked = 0.0

    def start(self) -> None:
        """Begin to work; from now on hook tools are answered, which a hook that is run again calls at once."""
        try:
            self._serve()
        except (TabletopError, OSError) as error:
            name = self._model.name
            logger.warning("machine %d of %s: its hook tools can't be answered yet: %s", self.number, name, error)
        super().start()

    def stop(self) -> None:
        """Ask the keeper to end; the machine goes on."""
        self._stopping.set()
        self._model.store.notify()

    def run(self) -> None:
        """Work until the machine is gone or the keeper is stopped."""
        try:
            while not self._stopping.is_set():
                try:
                    if not self._step():
                        return
                except Exception:
                    # The outermost loop of a thread that must not end while its machine is there.
                    if self._stopping.is_set():
                        return
                    logger.exception("the keeper of machine %d of %s failed", self.number, self._model.name)
                    self._stopping.wait(self._retry_delay)
        finally:
            if self._server is not None:
                self._server.close()

    def _step(self) -> bool:
        model, store = self._model, self._model.store
        generation = store.generation
        if self._stopping.is_set():
            # Asked since `run` looked: that change is in the generation already, and wouldn't end a wait.
            return False
        row = store.one("SELECT * FROM machine WHERE number = ?", self.number)
        if row is None:
            return False
        name: str = row["name"]
        self._serve()
        if row["life"] == "dying":
            with model.machine_locks[self.number]:
                model.machines.destroy(name)
            shutil.rmtree(model.machine_directory(self.number), ignore_errors=True)
            with store.write():
                store.execute("DELETE FROM machine WHERE number = ?", self.number)
            self._log("INFO", "destroyed")
            return False
        now = time.monotonic()
        poll = model.settings.machine_poll
        match row["state"]:
            case "started" if now - self._checked >= poll:
                self._checked = now
                present = model.machines.incarnation(name)
                if present != row["incarnation"]:
                    self._log("WARNING", "has rebooted" if present else "found dead; starting it again")
                    self._bring_up(name, row["constraints"])
                    return True
            case "started":
                pass
            case "rebooting":
                model.machines.stop(name)
                self._bring_up(name, row["constraints"])
                return True
            case "off" if row["off_until"] is None:
                pass
            case "off" if time.time() < row["off_until"]:
                poll = min(poll, row["off_until"] - time.time())
            case "off":
                with store.write():
                    store.execute("UPDATE machine SET state = 'down' WHERE number = ? AND state = 'off'", self.number)
                return True
            case _ if now >= self._retry_at:
                self._bring_up(name, row["constraints"])
                return True
            case _:
                poll = self._retry_at - now
        store.wait_for_change(generation, max(poll, 0.05))
        return True

    def _serve(self) -> None:
        if self._server is not None:
            return
        directory = self._model.machine_directory(self.number)
        directory.mkdir(parents=True, exist_ok=True)
        install_tools(directory)
        self._server = ToolServer(self._model, directory)

    def _bring_up(self, name: str, constraints: str) -> None:
        model, store = self._model, self._model.store
        target = model.settings.juju_directory
        directory = model.machine_directory(self.number)
        binds = [Bind(directory, target), *storage.binds(model, self.number)] if target else []
        wanted = json.loads(constraints)
        try:
            # Takes no slot: while one architecture's image is made, machines of another come up.
            model.machines.prepare(wanted.get("arch"), self._tell)
            if self._stopping.is_set() or not self._is_wanted():
                return
            started = time.monotonic()
            with self._slots:
                self._set_state("pending", "starting")
                held = constraints_of.limits(wanted)
                model.machines.create(name, binds=binds, architecture=wanted.get("arch"), limits=held)
                model.machines.start(name)
            address = model.machines.address(name)
            present = model.machines.incarnation(name)
        except (TabletopError, OSError) as error:
            self._retry_at = time.monotonic() + self._retry_delay
            self._log("ERROR", f"can't be brought up, tried again in {self._retry_delay:.0f} s: {error}")
            self._retry_delay = min(self._retry_delay * 2, model.settings.retry_max)
            self._set_state("error", str(error))
            return
        self._retry_delay = model.settings.retry_first
        self._checked = time.monotonic()
        with store.write():
            now = time.time()
            store.execute(
                "UPDATE machine SET state = 'started', message = '', since = ?, address = ?, boots = boots + 1,"
                " incarnation = ?, off_until = NULL WHERE number = ? AND state != 'off'",
                now,
                address,
                present,
                self.number,
            )
            store.execute(
                "UPDATE unit SET message = 'agent initialising', since = ?"
                " WHERE machine = ? AND message = 'waiting for machine'",
                now,
                self.number,
            )
        self._log("INFO", f"started as {name}, {address}, in {time.monotonic() - started:.1f} s")

    def _is_wanted(self) -> bool:
        """Whether the machine is still to be there and on; to prepare for it may have taken minutes."""
        row = self._model.store.one("SELECT life, state FROM machine WHERE number = ?", self.number)
        return row is not None and row["life"] == "alive" and row["state"] != "off"

    def _tell(self, line: str) -> None:
        """Show how far the machine's preparation is."""
        self._set_state("pending", line)
        self._log("INFO", line)

    def _set_state(self, state: str, message: str) -> None:
        with self._model.store.write():
            self._model.store.execute(
                "UPDATE machine SET state = ?, message = ?, since = ? WHERE number = ? AND state != 'off'",
                state,
                message,
                time.time(),
                self.number,
            )

    def _log(self, level: str, message: str) -> None:
        self._model.log.add(f"machine-{self.number}", level, "tabletop.machine", message)
