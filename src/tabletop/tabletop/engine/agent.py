"""The agent of one unit: a thread that runs one hook after the other."""

import logging
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tabletop.engine import relations, removal, snapshot, storage, subordinates, tasks, transaction
from tabletop.engine.faults import StateError
from tabletop.engine.hooks import HookContext, environment
from tabletop.engine.layout import agent_directory, lay_out_charm
from tabletop.engine.lifecycle import Event
from tabletop.engine.model import Model, NotFoundError
from tabletop.engine.operation import Decision, Operation, decide
from tabletop.engine.process import Outcome, run_for
from tabletop.engine.refusals import CommitError
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
_STATE_PAUSE = 2.0
_UNITER = "juju.worker.uniter.operation"


@dataclass(frozen=True, slots=True)
class _Begun:
    """A hook that is noted as running, with the unit's row and the digest of its application's charm as they were."""

    event: Event
    attempts: int
    unit: Any
    charm: str
    machine: str
    has_new_units: bool
    started: float
    """By the monotonic clock; what the hook costs is counted from here to its commit."""


class UnitAgent(threading.Thread):
    """Delivers a unit's events until the unit is gone or the agent is stopped."""

    def __init__(self, model: Model, unit: str) -> None:
        """Make the agent of a unit; `start` begins its work."""
        super().__init__(name=f"agent-{unit}", daemon=True)
        self._model = model
        self.unit = unit
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the agent to end after the hook that runs now."""
        self._stopping.set()
        self._model.store.notify()

    def run(self) -> None:
        """Work until there is nothing left to do."""
        pause = 1.0
        while not self._stopping.is_set():
            try:
                if not self._step():
                    return
                pause = 1.0
            except NotFoundError as error:
                # The unit was removed by force while its hook ran; the next step finds that out.
                logger.info("%s: %s", self.unit, error)
            except StateError as error:
                # A full disk, most likely: whatever was to be noted is done again once it can be.
                if self._stopping.is_set():
                    return
                logger.warning("%s: %s", self.unit, error)
                self._stopping.wait(_STATE_PAUSE)
            except Exception:
                # The outermost loop: an agent that died would leave its unit hanging without a word.
                if self._stopping.is_set():
                    return
                logger.exception("the agent of %s failed; it goes on in %.0f s", self.unit, pause)
                self._stopping.wait(pause)
                pause = min(pause * 2, 60.0)

    def _step(self) -> bool:
        """Do one thing, or wait for something to do; return False when the unit is gone."""
        model, store = self._model, self._model.store
        with store.read():
            generation = store.generation
            if self._stopping.is_set():
                # Asked since `run` looked: that change is in the generation already, and wouldn't end a wait.
                return False
            try:
                row = model.unit(self.unit)
            except NotFoundError:
                return False
            decision = decide(model, row)
        if decision.what == "wait":
            timeout = None if decision.until is None else max(0.0, decision.until - time.time())
            store.wait_for_change(generation, timeout)
            return True
        with ExitStack() as stack:
            stack.enter_context(model.machine_locks[row["machine"]])
            if decision.what == "hook":
                # Actions don't take a slot: one may wait for what another unit's hook is to do.
                stack.enter_context(model.hook_slots)
            with store.write():
                if self._stopping.is_set() or store.one("SELECT 1 FROM unit WHERE name = ?", self.unit) is None:
                    return not self._stopping.is_set()
                # A hook is begun in the same step: a relation that it tells of can't end in between.
                decision = decide(model, model.unit(self.unit))
                begun = self._begin(decision.event, decision.attempts) if decision.event is not None else None
            self._carry_out(decision, begun)
        return True

    def _carry_out(self, decision: Decision, begun: "_Begun | None") -> None:
        match decision.what:
            case "hook" if begun is not None:
                self._run_hook(begun)
            case "task" if decision.task is not None:
                tasks.run_task(self._model, self.unit, decision.task)
            case "detach":
                self._detach_untold()
            case "bury":
                removal.bury(self._model, self.unit)
            case _:
                pass

    def _detach_untold(self) -> None:
        """Let storage go that was added and taken away before the unit was told of it."""
        model = self._model
        with model.store.read():
            told = snapshot.local_state(model.unit(self.unit)).storage
            lost = storage.lost_untold(model, self.unit, told)
        for storage_id in lost:
            storage.unmount(model, storage_id)
        with model.store.write():
            for storage_id in lost:
                storage.detached(model, storage_id)

    def _begin(self, event: Event, attempts: int) -> "_Begun | None":
        """Note that a hook begins, and let the unit into its relations if it is told of one; inside `write`."""
        started = time.monotonic()
        model, store = self._model, self._model.store
        row = model.unit(self.unit)
        machine = store.one("SELECT name, address FROM machine WHERE number = ?", row["machine"])
        if machine is None:
            return None
        event = snapshot.renewed(model, row, event)
        fresh: list[str] = []
        if event.kind == "relation-created":
            relations.enter_scopes(model, self.unit, machine["address"])
            fresh = subordinates.ensure(model, self.unit)
        operation = Operation(event, "running", attempts)
        now = time.time()
        store.execute("UPDATE unit SET op = ?, agent_since = ? WHERE name = ?", operation.to_json(), now, self.unit)
        if event.kind == "install" and attempts == 0:
            store.execute(
                "UPDATE unit SET status = 'maintenance', message = ?, since = ? WHERE name = ?",
                transaction.INSTALLING,
                now,
                self.unit,
            )
        charm: str = model.application(row["application"])["charm"]
        return _Begun(event, attempts, row, charm, machine["name"], bool(fresh), started)

    def _run_hook(self, begun: "_Begun") -> None:
        model, event, row = self._model, begun.event, begun.unit
        if begun.has_new_units:
            model.on_new_units()
        context = HookContext(model, model.unit(self.unit), event)
        try:
            self._lay_out(row, begun.charm, event)
            if event.kind in ("storage-attached", "storage-detaching"):
                storage.mount(model, event.storage_id)
            outcome = self._dispatch(context, begun.machine)
        except (TabletopError, OSError) as error:
            outcome = Outcome(-1, "", str(error))
        name = event.hook_name
        if context.reboot == "now":
            self._log("INFO", _UNITER, f'hook "{name}" asked for a reboot; it runs again after that')
            transaction.reboot(model, row["machine"])
        elif (outcome is None or outcome.code == 0) and self._commit(context):
            how = "ran" if outcome is not None else "skipped (the charm has no such hook)"
            self._log("INFO", _UNITER, f'{how} "{name}" hook (via hook dispatching script: dispatch)')
        elif self._stopping.is_set():
            # It may have failed for want of this daemon, so the next one runs it again.
            self._log("INFO", _UNITER, f'hook "{name}" was cut short by the end of tabletop; it runs again')
        else:
            self._fail(event, begun.attempts, outcome or Outcome(0, "", ""))
        self._log("DEBUG", _UNITER, f'hook "{name}" took {time.monotonic() - begun.started:.3f} s')

    def _commit(self, context: HookContext) -> bool:
        """Commit what a hook did; False if that is refused."""
        try:
            transaction.commit(context)
        except CommitError as error:
            self._log("ERROR", "juju.worker.uniter.context", f"cannot apply changes: {error}")
            return False
        return True

    def _lay_out(self, row: Any, wanted: str, event: Event) -> None:
        """Give the unit (its row) its charm's files, if it has none or is to get others."""
        if not row["charm"] or (event.kind in ("install", "upgrade-charm") and row["charm"] != wanted):
            lay_out_charm(self._model, row["machine"], self.unit, wanted, row["charm"])
            with self._model.store.write():
                self._model.store.execute("UPDATE unit SET charm = ? WHERE name = ?", wanted, self.unit)

    def _dispatch(self, context: HookContext, machine: str) -> Outcome | None:
        """Run the charm's program for the hook; None if it has none."""
        model = self._model
        event = context.event
        if event and event.endpoint and model.charm_of(context.application).is_implicit(event.endpoint):
            # Juju runs no hooks of an endpoint that the charm doesn't declare.
            return None
        env = environment(context)
        charm = agent_directory(model, context.machine, self.unit) / "charm"
        program = "dispatch"
        if not (charm / program).exists():
            program = f"hooks/{event.hook_name}" if event else ""
            if not (charm / program).is_file():
                return None
        module = f"unit.{self.unit}.{event.hook_name if event else 'exec'}"

        def on_line(stream: str, line: str) -> None:
            self._log("WARNING" if stream == "stderr" else "DEBUG", module, line)

        return run_for(context, machine, [f"{env['CHARM_DIR']}/{program}"], env, on_line=on_line)

    def _fail(self, event: Event, attempts: int, outcome: Outcome) -> None:
        store, settings = self._model.store, self._model.settings
        delay = min(settings.retry_first * 2**attempts, settings.retry_max)
        operation = Operation(event, "failed", attempts + 1, time.time() + delay)
        why = f"exit status {outcome.code}" if outcome.code > 0 else f"killed by signal {-outcome.code}"
        if outcome.code == -1 and outcome.stderr:
            why = outcome.stderr
        if outcome.code == 0:
            why = "committing requested changes failed"
        self._log("ERROR", _UNITER, f'hook "{event.hook_name}" (via hook dispatching script: dispatch) failed: {why}')
        with store.write():
            store.execute(
                "UPDATE unit SET op = ?, agent_since = ? WHERE name = ?", operation.to_json(), time.time(), self.unit
            )

    def _log(self, level: str, module: str, message: str) -> None:
        self._model.log.add(self.unit, level, module, message)
