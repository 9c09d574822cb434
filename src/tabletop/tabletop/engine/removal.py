"""How units and applications go."""

import shutil

from tabletop.engine import relations, storage, subordinates, tasks
from tabletop.engine.layout import agent_directory
from tabletop.engine.model import Model, NotFoundError
from tabletop.errors import TabletopError


def remove_unit(model: Model, unit: str, *, destroy_storage: bool = False) -> str:
    """Start to remove a unit; its storage stays unless it is to go. Return its name.

    Raises:
        NotFoundError: there is no such unit.
    """
    with model.store.write():
        row = model.unit(unit)
        name: str = row["name"]
        subordinates.start_removal(model, name)
        for leaving in (name, *subordinates.of(model, name)):
            storage.release(model, leaving, destroy=destroy_storage)
    return name


def remove_application(model: Model, application: str, *, destroy_storage: bool = False) -> list[str]:
    """Start to remove an application with its units and relations; return the units' names.

    Raises:
        NotFoundError: there is no such application.
    """
    store = model.store
    with store.write():
        model.application(application)
        store.execute("UPDATE application SET life = 'dying' WHERE name = ?", application)
        units = [row["name"] for row in store.all("SELECT name FROM unit WHERE application = ?", application)]
        for unit in units:
            remove_unit(model, unit, destroy_storage=destroy_storage)
        ending = store.all("SELECT relation FROM endpoint WHERE application = ? AND role != 'peer'", application)
        for row in ending:
            relations.end_relation(model, row["relation"])
        relations.forget_applications(model)
    return units


def remove_machine(model: Model, number: int, *, force: bool = False) -> list[str]:
    """Start to remove a machine; with `force`, also the units on it, whose names are returned: they are to be buried.

    Raises:
        NotFoundError: there is no such machine.
        TabletopError: there are units on it, and no force.
    """
    store = model.store
    with store.write():
        if store.one("SELECT 1 FROM machine WHERE number = ? AND life = 'alive'", number) is None:
            raise NotFoundError(f"machine {number} not found")
        units = [row["name"] for row in store.all("SELECT name FROM unit WHERE machine = ? ORDER BY name", number)]
        if units and not force:
            raise TabletopError(f"machine {number} has unit(s) {', '.join(units)} on it; remove them, or give --force")
        for unit in units:
            remove_unit(model, unit)
        if not units:
            store.execute("UPDATE machine SET life = 'dying' WHERE number = ?", number)
    return units


def bury(model: Model, unit: str) -> None:
    """Remove what is left of a unit and its subordinates, without last hooks; its machine goes with its last unit.

    It waits for a machine that boots, so whoever calls it holds nothing that others wait for.
    """
    store = model.store
    for name in subordinates.of(model, unit):
        bury(model, name)
    storage.unmount_all(model, unit)
    with store.write():
        row = store.one("SELECT * FROM unit WHERE name = ?", unit)
        if row is None:
            return
        for scope in store.all("SELECT relation FROM scope WHERE unit = ?", unit):
            relations.leave_scope(model, scope["relation"], unit)
        tasks.abort_tasks_of(model, unit)
        storage.detach_all(model, unit)
        store.execute("DELETE FROM secret WHERE owner_kind = 'unit' AND owner = ?", unit)
        store.execute("DELETE FROM secret_grant WHERE subject = ?", unit)
        store.execute("DELETE FROM unit WHERE name = ?", unit)
        relations.forget_applications(model)
        others = store.value("SELECT count(*) FROM unit WHERE machine = ?", row["machine"])
        if not others:
            store.execute("UPDATE machine SET life = 'dying' WHERE number = ?", row["machine"])
    # After the unit is gone: a program that is about to start looks for it once its context is known here.
    for context in list(model.contexts.values()):
        if context.unit == unit:
            context.cancel()
    model.log.add(unit, "INFO", "juju.worker.uniter", f'unit "{unit}" is gone')
    if others:
        shutil.rmtree(agent_directory(model, row["machine"], unit), ignore_errors=True)
