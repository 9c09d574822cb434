"""The tools about the unit: configuration, leadership, status, log, version, network, resources, goal state."""

import ipaddress
import os
import shutil
import time
from typing import Any

from tabletop.engine import snapshot
from tabletop.engine.durations import rfc3339
from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

STATUSES = ("maintenance", "blocked", "waiting", "active")
_LEVELS = {"CRITICAL": "ERROR", "WARN": "WARNING"}


def config_get(call: Call) -> str:
    """Return the configuration or one option."""
    values = call.context.model.config(call.context.application)
    if call.flag("all"):
        options = call.context.model.charm_of(call.context.application).config
        values = {**dict.fromkeys(options), **values}
    key = call.argument(0)
    return call.render(values if key is None else values.get(key))


def is_leader(call: Call) -> str:
    """Tell whether the unit leads."""
    leads = call.context.is_leader
    return call.render(leads)


def juju_log(call: Call) -> str:
    """Write to the model's debug log."""
    context = call.context
    level = "DEBUG" if call.flag("debug") else call.options.get("log-level", "INFO").upper()
    message = " ".join(call.arguments)
    if not message:
        raise ToolError("no message specified", 2)
    event = context.event
    if event and event.relation_id is not None:
        message = f"{event.endpoint}:{event.relation_id}: {message}"
    context.model.log.add(context.unit, _LEVELS.get(level, level), f"unit.{context.unit}.juju-log", message)
    return ""


def application_version_set(call: Call) -> str:
    """Note the version of the workload."""
    context = call.context
    version = call.required(0, "version")
    with context.model.store.write(wake=False):
        context.model.store.execute(
            "UPDATE application SET workload_version = ? WHERE name = ?", version, context.application
        )
    return ""


def status_set(call: Call) -> str:
    """Set the status of the unit, or of its application."""
    context = call.context
    status = call.required(0, "status")
    message = call.argument(1) or ""
    if status not in STATUSES:
        raise ToolError(f'invalid status "{status}", expected one of [{" ".join(STATUSES)}]', 2)
    store = context.model.store
    with store.write(wake=False):
        if call.flag("application"):
            if not context.is_leader:
                raise ToolError("setting application status: this unit is not the leader")
            table, name = "application", context.application
        else:
            table, name = "unit", context.unit
        store.execute(
            f"UPDATE {table} SET since = CASE WHEN status IS ? AND message = ? THEN since ELSE ? END,"  # noqa: S608
            " status = ?, message = ? WHERE name = ?",
            status,
            message,
            time.time(),
            status,
            message,
            name,
        )
    return ""


def status_get(call: Call) -> str:
    """Return the status of the unit, or of its application with that of each unit."""
    context = call.context
    store = context.model.store
    if not call.flag("application"):
        row = store.one("SELECT status, message FROM unit WHERE name = ?", context.unit)
        status = _status(row)
        return call.render(status if call.flag("include-data") else status["status"])
    if not context.is_leader:
        raise ToolError("finding application status: this unit is not the leader")
    units = {
        row["name"]: _status(row)
        for row in store.all("SELECT name, status, message FROM unit WHERE application = ?", context.application)
    }
    whole = _status(store.one("SELECT status, message FROM application WHERE name = ?", context.application))
    if not call.flag("include-data"):
        return call.render(whole["status"])
    # Juju nests the units in the application's status, ops looks for them beside it.
    return call.render({"application-status": {**whole, "units": units}, "units": units})


def _status(row: Any) -> dict[str, Any]:
    return {"message": row["message"] if row else "", "status": (row and row["status"]) or "unknown", "status-data": {}}


def network_get(call: Call) -> str:
    """Return the addresses that a binding uses: the machine has one network."""
    context = call.context
    name = call.required(0, "arguments")
    charm = context.model.charm_of(context.application)
    if name not in charm.endpoints and name not in charm.extra_bindings:
        raise ToolError(f'no network config found for binding "{name}"')
    if "relation" in call.options:
        number = call.options["relation"].rpartition(":")[2]
        if not number.isdecimal() or int(number) not in context.relations():
            raise ToolError(f"relation {number} not found")
    address: str = context.model.store.value("SELECT address FROM machine WHERE number = ?", context.machine)
    network = str(ipaddress.ip_network(f"{address}/24", strict=False))
    if call.flag("bind-address") or call.flag("ingress-address") or call.flag("primary-address"):
        return call.render(address)
    if call.flag("egress-subnets"):
        return call.render([f"{address}/32"])
    bind = {"hostname": "", "address": address, "value": address, "cidr": network}
    return call.render(
        {
            "bind-addresses": [{"mac-address": "", "interface-name": "host0", "addresses": [bind]}],
            "egress-subnets": [f"{address}/32"],
            "ingress-addresses": [address],
        }
    )


def resource_get(call: Call) -> str:
    """Return where the machine has a resource: a link to the model's one copy, read-only."""
    context = call.context
    model = context.model
    name = call.required(0, "resource name")
    row = model.store.one("SELECT * FROM resource WHERE application = ? AND name = ?", context.application, name)
    if row is None:
        raise ToolError(f'could not download resource: resource "{context.application}/{name}" not found')
    tag = "unit-" + context.unit.replace("/", "-")
    relative = f"agents/{tag}/resources/{name}/{row['filename'] or name}"
    target = model.machine_directory(context.machine) / relative
    source = model.resource_path(row["sha256"])
    if not (target.exists() and target.samefile(source)):
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.new")
        draft.unlink(missing_ok=True)
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
        draft.replace(target)
    return f"{model.inside(context.machine)}/{relative}"


def goal_state(call: Call) -> str:
    """Return the units that the application, and those related to it, are to have."""
    context = call.context
    store = context.model.store

    def units_of(application: str) -> dict[str, Any]:
        rows = store.all("SELECT name, status, life, since FROM unit WHERE application = ?", application)
        return {
            row["name"]: {
                "status": "dying" if row["life"] != "alive" else row["status"],
                "since": rfc3339(row["since"]),
            }
            for row in rows
        }

    with store.read():
        found: dict[str, dict[str, Any]] = {}
        for relation in snapshot.relations_of(context.model, context.model.unit(context.unit)).values():
            if relation.remote_app == context.application:
                continue
            application = context.model.application(relation.remote_app)
            goals = found.setdefault(relation.endpoint, {})
            goals[relation.remote_app] = {"status": "joined", "since": rfc3339(application["since"])}
            goals.update(units_of(relation.remote_app))
        return call.render({"units": units_of(context.application), "relations": found})


def credential_get(_call: Call) -> str:
    """Refuse: there is no cloud."""
    raise ToolError("cannot access cloud credentials: tabletop has no cloud")


def payload(_call: Call) -> str:
    """Refuse: payloads left Juju, and were never here."""
    raise ToolError("payloads are not supported")


def juju_reboot(call: Call) -> str:
    """Ask for the machine to be restarted: after the hook, or now."""
    context = call.context
    if context.task is not None and context.task.kind == "action":
        raise ToolError("juju-reboot is not supported when running an action.")
    context.reboot = "now" if call.flag("now") else "later"
    if context.reboot == "now":
        context.cancel()
    return ""
