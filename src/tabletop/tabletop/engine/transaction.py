"""The end of a hook: what it wrote becomes the model's in one durable step, or is forgotten."""

import json
import time
from dataclasses import replace
from typing import Any

from tabletop.engine import lifecycle, refusals, relations, secretevents, secrets, storage
from tabletop.engine.hooks import HookContext
from tabletop.engine.lifecycle import Event
from tabletop.engine.model import Model
from tabletop.engine.snapshot import local_state, renewed

INSTALLING = "installing charm software"


def commit(context: HookContext) -> None:
    """Commit what a successful hook wrote, and acknowledge its event.

    Raises:
        CommitError: something that it asked for is refused; nothing is committed.
    """
    model, store = context.model, context.model.store
    if context.event is not None:
        make_way(model, context.event)
    # What the hook left running may still call tools.
    with context.lock, store.write():
        if store.one("SELECT 1 FROM unit WHERE name = ?", context.unit) is None:
            return
        refusals.check(context)
        grown = _write_databags(context)
        for secret_id, draft in context.secrets.items():
            secrets.apply_draft(model, secret_id, draft)
            if draft.follow and not draft.removed:
                secrets.follow(model, secret_id, context.unit, secrets.latest(model, secret_id), None)
        if context.ports is not None:
            store.execute("DELETE FROM opened_port WHERE unit = ?", context.unit)
            for port in context.ports:
                store.execute(
                    "INSERT INTO opened_port (unit, endpoint, protocol, from_port, to_port) VALUES (?, ?, ?, ?, ?)",
                    context.unit,
                    port.endpoint,
                    port.protocol,
                    port.start,
                    port.end,
                )
        if context.state is not None:
            store.execute("UPDATE unit SET state = ? WHERE name = ?", json.dumps(context.state), context.unit)
        for name, count in context.new_storage.items():
            for _ in range(count):
                storage.add(model, model.unit(context.unit), name)
        if context.event is not None:
            acknowledge(model, context.unit, context.event)
        _acknowledge_own_writes(context, grown)
        if context.reboot:
            reboot(model, context.machine)


def reboot(model: Model, machine: int) -> None:
    """Have a machine restarted: its keeper does it. One whose plug was pulled meanwhile stays off."""
    with model.store.write():
        model.store.execute("UPDATE machine SET state = 'rebooting' WHERE number = ? AND state != 'off'", machine)
    model.log.add(f"machine-{machine}", "INFO", "juju.worker.reboot", "rebooting: a charm asked for it")


def make_way(model: Model, event: Event) -> None:
    """Do what an event's end needs of the machine; ahead of `acknowledge`, and not inside `write`.

    What is undone here for nothing, since the end is refused or never comes, the event's next try does again.
    """
    if event.kind == "storage-detaching":
        storage.unmount(model, event.storage_id)


def skip(model: Model, unit: Any, event: Event) -> None:
    """Let a unit (its row) go on as if the hook that failed had succeeded; inside `write`, after `make_way`."""
    # A configuration that has changed since counts as told; a newer charm is still to come.
    acknowledge(model, unit["name"], renewed(model, unit, event) if event.kind == "config-changed" else event)


def acknowledge(model: Model, unit: str, event: Event) -> None:
    """Note that a unit has been told of an event, by its hook's success or by an operator who skips it.

    Inside `write`, after `make_way`.
    """
    store = model.store
    row = model.unit(unit)
    local = lifecycle.acknowledge(local_state(row), event)
    store.execute("UPDATE unit SET local = ?, op = NULL WHERE name = ?", json.dumps(local.to_dict()), unit)
    now = time.time()
    if event.secret_id:
        secretevents.acknowledge(model, unit, event)
    match event.kind:
        case "relation-broken" if event.relation_id is not None:
            relations.leave_scope(model, event.relation_id, unit)
        case "storage-detaching":
            storage.detached(model, event.storage_id)
        case "start" | "update-status":
            store.execute("UPDATE unit SET update_status = ? WHERE name = ?", now, unit)
        case _:
            pass
    if event.kind == "start" and (row["status"], row["message"]) == ("maintenance", INSTALLING):
        store.execute("UPDATE unit SET status = 'unknown', message = '', since = ? WHERE name = ?", now, unit)


def _write_databags(context: HookContext) -> dict[int, tuple[int, int]]:
    """Commit the databags; return by how much the version of the application's own has grown, for each relation."""
    model = context.model
    grown: dict[int, tuple[int, int]] = {}
    for (relation_id, entity), data in context.databags.items():
        if model.store.one("SELECT 1 FROM relation WHERE id = ?", relation_id) is None:
            continue
        before = relations.databag_version(model, relation_id, entity)
        version = relations.write_databag(model, relation_id, entity, data)
        if entity == context.application:
            grown[relation_id] = (before, version)
    return grown


def _acknowledge_own_writes(context: HookContext, grown: dict[int, tuple[int, int]]) -> None:
    """A leader isn't told of what it wrote to its own application's databag of a peer relation.

    But it is of what the leader before it wrote, if it hasn't been yet.
    """
    row: Any = context.model.unit(context.unit)
    local = local_state(row)
    told = dict(local.relations)
    for relation_id, (before, version) in grown.items():
        relation = context.relations().get(relation_id)
        if relation is None or not relation.peer or relation_id not in told:
            continue
        if told[relation_id].app_version == before:
            told[relation_id] = replace(told[relation_id], app_version=version)
    if told != local.relations:
        text = json.dumps(replace(local, relations=told).to_dict())
        context.model.store.execute("UPDATE unit SET local = ? WHERE name = ?", text, context.unit)
