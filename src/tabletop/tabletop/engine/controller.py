"""An operator's commands, by the names that the API gives them."""

import json
import logging
import re
import shutil
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabletop.engine import (
    applications,
    architecture,
    operations,
    outage,
    placement,
    process,
    relations,
    removal,
    report,
    storagereport,
    subordinates,
    tasks,
    transaction,
    usersecrets,
)
from tabletop.engine import constraints as constraints_of
from tabletop.engine import snapshot as snapshots
from tabletop.engine import storage as stores
from tabletop.engine.command import Call, Change
from tabletop.engine.engine import ModelRunner, remove, remove_directory
from tabletop.engine.faults import StateError
from tabletop.engine.model import Machines, Model, NotFoundError, Settings
from tabletop.engine.operation import Operation
from tabletop.errors import TabletopError

logger = logging.getLogger(__name__)
_MODEL_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?\Z")
_PLAIN = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}


class Controller:
    """All models of one tabletop.

    Each public method but `stop` is a method of the API, called with its parameters by keyword, and with the `call` if
    it takes one.
    """

    def __init__(self, state: Path, machines: Machines, settings: Settings) -> None:
        """Open the models kept under a directory and go on with them."""
        self._directory = state / "models"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._machines = machines
        self._settings = settings
        self._slots = threading.BoundedSemaphore(settings.machine_slots)
        self._lock = threading.RLock()
        self._runners: dict[str, ModelRunner] = {}
        self._going: set[str] = set()
        for leftover in self._directory.glob(".*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for directory in sorted(self._directory.iterdir()):
            try:
                self._open(directory.name)
            except StateError as error:
                # The other models are none the worse for it; whoever asks for this one is told.
                logger.error("the model %s can't be opened: %s", directory.name, error)

    def stop(self, patience: float = 5.0) -> None:
        """Stop all agents, waiting so many seconds for hooks that run; machines and what runs in them go on."""
        with self._lock:
            stoppers = [
                threading.Thread(target=runner.stop, args=(patience,), daemon=True) for runner in self._runners.values()
            ]
            for stopper in stoppers:
                stopper.start()
            for stopper in stoppers:
                stopper.join()
            for runner in self._runners.values():
                runner.model.close()
            self._runners.clear()

    def running_tasks(self) -> list[str]:
        """List the actions and scripts that run now, which must not be cut short."""
        with self._lock:
            contexts = [context for runner in self._runners.values() for context in [*runner.model.contexts.values()]]
        return [f"{context.task.name} on {context.unit}" for context in contexts if context.task is not None]

    def add_model(self, name: str) -> dict[str, str]:
        """Make an empty model."""
        if not _MODEL_NAME.match(name):
            raise TabletopError(f'"{name}" is not a valid model name: use up to 40 lower-case letters, digits, hyphens')
        with self._lock:
            if name in self._runners:
                raise TabletopError(f'failed to create new model: model "{name}" already exists')
            if (self._directory / name).exists():
                raise TabletopError(f'model "{name}" is being destroyed; try again when it is gone')
            Model.create(self._directory / name, name)
            model = Model(self._directory / name, self._machines, self._settings)
            self._runners[name] = ModelRunner(model, self._slots)
        return {"name": name, "uuid": model.uuid}

    def destroy_model(self, call: Call, name: str) -> None:
        """Remove a model with all it has."""
        with self._lock:
            try:
                runner = self._runner(name)
            except StateError as error:
                call.progress(str(error))
                self._destroy_unread(call, name)
                return
            del self._runners[name]
            self._going.add(name)
        try:
            with runner.model.command_lock:
                runner.destroy(call.progress)
        finally:
            with self._lock:
                self._going.discard(name)

    def models(self) -> list[dict[str, Any]]:
        """List the models."""
        with self._lock:
            found = {name: {"uuid": runner.model.uuid, "life": "alive"} for name, runner in self._runners.items()}
            found |= {name: {"uuid": "", "life": "unreadable"} for name in self._unread()}
        return [{"name": name, **fields} for name, fields in sorted(found.items())]

    def deploy(
        self,
        model: str,
        charm: str,
        app: str,
        num_units: int = 1,
        config: Mapping[str, Any] | None = None,
        resources: Mapping[str, str] | None = None,
        to: Sequence[str] = (),
        constraints: Mapping[str, Any] | None = None,
        trust: bool = False,
        storage: Mapping[str, str] | None = None,
        attach: Sequence[str] = (),
        call: Call | None = None,
    ) -> dict[str, Any]:
        """Add an application."""
        with self._changing(model) as found:
            self._notice(call, found, constraints or {})
            units = applications.deploy(
                found,
                Path(charm),
                app,
                num_units=num_units,
                config=config,
                resources=resources,
                to=to,
                constraints=constraints,
                trust=trust,
                storage=storage,
                attach=attach,
            )
        return {"application": app, "units": units}

    def architecture(
        self,
        model: str,
        app: str | None = None,
        constraints: Mapping[str, Any] | None = None,
        to: Sequence[str] = (),
    ) -> str:
        """Tell what architecture a charm must be packed for: of an application that is there, or of one to be."""
        found = self._model(model)
        if app is not None:
            return architecture.of_constraints(found.application(app)["constraints"])
        return architecture.of_new_application(found, constraints or {}, to)

    def refresh(
        self,
        model: str,
        app: str,
        charm: str | None = None,
        resources: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        trust: bool = False,
    ) -> None:
        """Give an application another build of its charm."""
        with self._changing(model) as found:
            applications.refresh(
                found, app, Path(charm) if charm else None, resources or {}, config=config or {}, trust=trust
            )

    def add_unit(
        self, model: str, app: str, num_units: int = 1, to: Sequence[str] = (), attach: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Add units."""
        with self._changing(model) as found, found.store.write():
            return {"units": placement.add_units(found, app, num_units, to, attach)}

    def remove_unit(self, model: str, unit: str, force: bool = False, destroy_storage: bool = False) -> None:
        """Remove a unit."""
        with self._changing(model) as found:
            subordinates.refuse(found, unit)
            name = removal.remove_unit(found, unit, destroy_storage=destroy_storage)
        if force:
            _bury(found, [name])

    def remove_application(self, model: str, app: str, force: bool = False, destroy_storage: bool = False) -> None:
        """Remove an application."""
        with self._changing(model) as found:
            units = removal.remove_application(found, app, destroy_storage=destroy_storage)
        if force:
            _bury(found, units)

    def storage(self, model: str) -> dict[str, Any]:
        """List the storage."""
        return storagereport.storage(self._model(model))

    def add_storage(self, model: str, unit: str, storage: Mapping[str, str]) -> list[str]:
        """Give a unit more storage."""
        with self._changing(model) as found, found.store.write():
            return [one for name, text in storage.items() for one in stores.add_more(found, unit, name, text)]

    def attach_storage(self, model: str, unit: str, storage: Sequence[str]) -> None:
        """Attach storage that is detached."""
        with self._changing(model) as found, found.store.write():
            for one in storage:
                stores.attach(found, unit, one)

    def detach_storage(self, model: str, storage: Sequence[str]) -> None:
        """Detach storage from its unit."""
        with self._changing(model) as found, found.store.write():
            for one in storage:
                stores.detach(found, one)

    def remove_storage(self, model: str, storage: Sequence[str], force: bool = False) -> None:
        """Remove storage."""
        with self._changing(model) as found, found.store.write():
            for one in storage:
                stores.remove(found, one, force=force)

    def add_machine(
        self,
        model: str,
        num_machines: int = 1,
        constraints: Mapping[str, Any] | None = None,
        call: Call | None = None,
    ) -> dict[str, list[str]]:
        """Add machines without units."""
        self._notice(call, self._model(model), constraints or {})
        with self._changing(model) as found, found.store.write():
            numbers = [placement.add_machine(found, constraints or {}) for _ in range(num_machines)]
        return {"machines": [str(number) for number in numbers]}

    def remove_machine(self, model: str, machine: str, force: bool = False) -> None:
        """Remove a machine."""
        with self._changing(model) as found:
            units = removal.remove_machine(found, _number(machine, "machine"), force=force)
        _bury(found, units)

    def kill_machine(self, model: str, target: str, seconds: float | None = None, stay: bool = False) -> dict[str, str]:
        """Pull a machine's plug."""
        return {"machine": outage.kill_machine(self._model(model), target, seconds, stay=stay)}

    def start_machine(self, model: str, target: str) -> dict[str, str]:
        """Start a machine that was killed and is off."""
        return {"machine": outage.start_machine(self._model(model), target)}

    def cut_network(
        self,
        model: str,
        target: str,
        other: str | None = None,
        seconds: float | None = None,
        outside: bool = False,
    ) -> str:
        """Cut a machine off."""
        return outage.cut_network(self._model(model), target, other, seconds, outside=outside)

    def heal_network(
        self, model: str, target: str | None = None, other: str | None = None, outside: bool = False
    ) -> int:
        """Undo cuts."""
        return outage.heal_network(self._model(model), target, other, outside=outside)

    def integrate(self, model: str, a: str, b: str) -> dict[str, int]:
        """Relate two applications."""
        with self._changing(model) as found:
            return {"relation": relations.integrate(found, a, b)}

    def remove_relation(self, model: str, a: str, b: str) -> None:
        """End a relation."""
        with self._changing(model) as found:
            relations.remove_relation(found, a, b)

    def get_config(self, model: str, app: str) -> dict[str, Any]:
        """Show an application's configuration."""
        return applications.get_config(self._model(model), app)

    def set_config(self, model: str, app: str, values: Mapping[str, Any], reset: Sequence[str] = ()) -> None:
        """Change an application's configuration."""
        with self._changing(model) as found:
            applications.set_config(found, app, values, reset)

    def trust(self, model: str, app: str, trust: bool = True) -> None:
        """Note whether an application is trusted."""
        with self._changing(model) as found:
            applications.set_trust(found, app, trust=trust)

    def actions(self, model: str, app: str) -> dict[str, Any]:
        """List an application's actions."""
        return applications.actions(self._model(model), app)

    def run_action(
        self, model: str, units: Sequence[str], action: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Queue an action."""
        with self._changing(model) as found:
            return {"tasks": tasks.enqueue_action(found, units, action, params or {})}

    def task(self, model: str, id: str | int, log_offset: int = 0) -> dict[str, Any]:
        """Show a task."""
        return tasks.show(self._model(model), _task_id(id), log_offset)

    def cancel_task(self, model: str, id: str | int) -> dict[str, Any]:
        """Cancel a task."""
        with self._changing(model) as found:
            return operations.cancel(found, _task_id(id))

    def operations(self, model: str) -> dict[str, Any]:
        """List the operations."""
        return operations.every(self._model(model))

    def operation(self, model: str, id: str | int) -> dict[str, Any]:
        """Show an operation."""
        return operations.show(self._model(model), _number(id, "operation"))

    def wait_task(self, call: Call, model: str, id: str | int, timeout: float | None = None) -> dict[str, Any]:
        """Wait for a task, telling its log."""
        return tasks.wait(self._model(model), _task_id(id), timeout, call.progress, call.alive)

    def exec(
        self,
        call: Call,
        model: str,
        target: str,
        argv: Sequence[str] | None = None,
        script: str | None = None,
        timeout: float | None = None,
        hook_context: bool = True,
    ) -> dict[str, Any]:
        """Run a program on a unit, in a hook's context, or on a machine."""
        found = self._model(model)
        program = list(argv) if argv else ["/bin/bash", "-c", script or ""]
        if "/" in target and hook_context:
            with self._changing(model):
                task_id = tasks.enqueue_exec(found, target, program, timeout)
            task = tasks.wait(found, task_id, None if timeout is None else timeout + 1, call.progress, call.alive)
            if task["status"] in ("aborted", "cancelled"):
                raise TabletopError(f"the command did not end on unit {task['unit']}: {task['message']}")
            if task["status"] != "completed":
                raise TabletopError(f"timed out waiting for results from: unit {task['unit']}")
            return {"id": task["id"], "unit": task["unit"], **task["results"]}
        machine = self.machine(model, target)
        outcome = process.run(found, machine["name"], program, env=_PLAIN, cwd="/root", timeout=timeout)
        if outcome.timed_out:
            raise TabletopError(f"timed out waiting for results from: {target}")
        return {
            "id": "0",
            "unit": target,
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
            "return-code": outcome.code,
        }

    def machine(self, model: str, target: str) -> dict[str, Any]:
        """Tell where a unit's machine, or a machine, is."""
        found = self._model(model)
        row = found.store.one("SELECT * FROM machine WHERE number = ?", found.machine_number(target))
        if row is None:
            raise NotFoundError(f"machine {target} not found")
        pid = self._machines.leader(row["name"])
        if pid is None:
            raise TabletopError(f"machine {row['number']} ({row['name']}) does not run yet")
        root = str(self._machines.root(row["name"]))
        return {"name": row["name"], "pid": pid, "address": row["address"], "root": root}

    def status(self, model: str) -> dict[str, Any]:
        """Show the model's status."""
        return report.status(self._model(model))

    def show_unit(self, model: str, unit: str) -> dict[str, Any]:
        """Show a unit with its relations."""
        return report.show_unit(self._model(model), unit)

    def debug_log(
        self,
        model: str,
        since_id: int = 0,
        limit: int = 0,
        unit: str | None = None,
        level: str | None = None,
        wait: float = 0,
    ) -> dict[str, Any]:
        """Show the log, or what has come since a line; with `wait`, wait so many seconds for something to come."""
        lines = self._model(model).log.read(
            since_id=since_id, limit=limit, entity=unit, level=level, wait=min(wait, 60.0)
        )
        for line in lines:
            line["time"] = datetime.fromtimestamp(line["time"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        return {"lines": lines}

    def resolved(self, model: str, unit: str, no_retry: bool = False) -> None:
        """Try a failed hook again, or go on as if it had succeeded."""
        if no_retry:
            self._skip_hook(model, unit)
            return
        with self._changing(model) as found, found.store.write():
            row = found.unit(unit)
            operation = _failed(row)
            again = Operation(operation.event, "failed", operation.attempts, 0.0)
            found.store.execute("UPDATE unit SET op = ? WHERE name = ?", again.to_json(), row["name"])

    def model_config(
        self, model: str, values: Mapping[str, Any] | None = None, reset: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Change the model's configuration, and show it."""
        with self._changing(model) as found:
            given = snapshots.set_model_config(found, values or {}, reset)
        return {
            key: {"Value": value, "Source": "model" if key in given else "default"}
            for key, value in sorted(snapshots.model_config(found).items())
        }

    def model_constraints(self, model: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Replace the constraints that machines have whose application says nothing else, and show them."""
        with self._changing(model) as found:
            if values is not None:
                architecture.of_new_application(found, values)
                constraints_of.limits(values)
                with found.store.write():
                    found.store.execute("UPDATE model SET constraints = ?", json.dumps(dict(values)))
            return json.loads(found.store.value("SELECT constraints FROM model") or "{}")

    def add_secret(self, model: str, name: str, content: Mapping[str, str], info: str | None = None) -> str:
        """Add a secret."""
        with self._changing(model) as found:
            return usersecrets.add_secret(found, name, content, info)

    def update_secret(
        self,
        model: str,
        secret: str,
        content: Mapping[str, str] | None = None,
        info: str | None = None,
        name: str | None = None,
        auto_prune: bool = False,
    ) -> None:
        """Change a secret."""
        with self._changing(model) as found:
            usersecrets.update_secret(found, secret, content, info, name, auto_prune=auto_prune)

    def remove_secret(self, model: str, secret: str, revision: int | None = None) -> None:
        """Remove a secret."""
        with self._changing(model) as found:
            usersecrets.remove_secret(found, secret, revision)

    def grant_secret(self, model: str, secret: str, app: str) -> None:
        """Grant a secret."""
        with self._changing(model) as found:
            usersecrets.grant_secret(found, secret, app)

    def revoke_secret(self, model: str, secret: str, app: str) -> None:
        """Revoke a secret."""
        with self._changing(model) as found:
            usersecrets.revoke_secret(found, secret, app)

    def show_secret(
        self,
        model: str,
        secret: str,
        reveal: bool = False,
        revision: int | None = None,
        revisions: bool = False,
    ) -> dict[str, Any]:
        """Show a secret."""
        return usersecrets.show_secret(
            self._model(model), secret, reveal=reveal, revision=revision, revisions=revisions
        )

    def secrets(self, model: str) -> dict[str, Any]:
        """List the secrets."""
        return usersecrets.list_secrets(self._model(model))

    @staticmethod
    def _notice(call: Call | None, model: Model, constraints: Mapping[str, Any]) -> None:
        for line in constraints_of.notices(model, constraints):
            (call or Call()).progress(f"NOTICE {line}")

    def _skip_hook(self, model: str, unit: str) -> None:
        while True:
            # Its machine may be booting, and other commands are not to wait for that.
            found = self._model(model)
            failed = _failed(found.unit(unit))
            transaction.make_way(found, failed.event)
            with self._changing(model), found.store.write():
                row = found.unit(unit)
                # Tried again meanwhile, it has undone what was done for its end; or another hook has failed since.
                if _failed(row) == failed:
                    transaction.skip(found, row, failed.event)
                    return

    def _runner(self, name: str) -> ModelRunner:
        with self._lock:
            runner = self._runners.get(name)
            if runner is None and name in self._unread():
                # What kept it from being opened may be over, such as a full disk.
                runner = self._open(name)
            going = ": it is being destroyed" if name in self._going else ""
        if runner is None:
            raise NotFoundError(f"model {name} not found{going}")
        return runner

    def _open(self, name: str) -> ModelRunner | None:
        """Open a model and go on with it; None if its removal was cut short, which goes on in a thread of its own.

        Raises:
            StateError: its state can't be read or written.
        """
        model = Model(self._directory / name, self._machines, self._settings)
        try:
            alive = model.store.value("SELECT life FROM model") == "alive"
            runner = ModelRunner(model, self._slots) if alive else None
        except StateError:
            model.close()
            raise
        if runner is None:
            self._going.add(name)
            threading.Thread(target=self._finish_removal, args=(model,), name=f"remove-{name}", daemon=True).start()
        else:
            self._runners[name] = runner
        return runner

    def _finish_removal(self, model: Model) -> None:
        try:
            remove(model, lambda line: logger.info("%s", line))
        except (TabletopError, OSError) as error:
            model.close()
            logger.error("the model %s can't be removed: %s; destroy-model tries it again", model.name, error)
        finally:
            with self._lock:
                self._going.discard(model.name)

    def _unread(self) -> list[str]:
        """Return the models that are there but can't be opened."""
        names = (path.name for path in self._directory.iterdir() if (path / "model.db").exists())
        known = self._runners.keys() | self._going
        return sorted(name for name in names if not name.startswith(".") and name not in known)

    def _destroy_unread(self, call: Call, name: str) -> None:
        """Remove a model whose state can't be read: its machines are known by their folders."""
        directory = self._directory / name
        for number in sorted(int(path.name) for path in (directory / "machines").glob("[0-9]*")):
            call.progress(f"destroying machine {placement.machine_name(name, number)}")
            self._machines.destroy(placement.machine_name(name, number))
        remove_directory(directory)

    def _model(self, name: str) -> Model:
        return self._runner(name).model

    def _changing(self, name: str) -> Change:
        return Change(self._runner(name))


def _bury(model: Model, units: Sequence[str]) -> None:
    for unit in units:
        removal.bury(model, unit)


def _failed(row: Any) -> Operation:
    """Return the hook of a unit (its row) that has failed.

    Raises:
        TabletopError: none has.
    """
    operation = Operation.of(row)
    if operation is None or operation.state != "failed":
        raise TabletopError(f'unit "{row["name"]}" is not in an error state')
    return operation


def _task_id(text: str | int) -> int:
    return _number(text, "task")


def _number(text: str | int, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotFoundError(f'{what} "{text}" not found') from None
