"""What there is and how it is, in the shapes of `juju status --format json` and `juju show-unit --format json`."""

import json
import time
from collections.abc import Mapping
from typing import Any

from tabletop.engine import constraints, hardware, outage, relations, snapshot, storagereport, subordinates
from tabletop.engine.durations import rfc3339
from tabletop.engine.hooks import Port
from tabletop.engine.model import Model
from tabletop.engine.operation import Operation, decide

_WORST_FIRST = ("error", "blocked", "maintenance", "waiting", "active", "terminated", "unknown")
_MACHINE_STATES = {
    "started": "started",
    "pending": "pending",
    "rebooting": "down",
    "error": "down",
    "down": "down",
    "off": "down",
}


def status(model: Model) -> dict[str, Any]:
    """Return the model's status."""
    store = model.store
    # Asks the kernel, by a program: hook tools are not to wait for that.
    cuts = outage.describe_cuts(model)
    with store.read():
        machines = {
            str(row["number"]): _machine(model, row, cuts.get(row["name"], ""))
            for row in store.all("SELECT * FROM machine ORDER BY number")
        }
        applications = {
            row["name"]: _application(model, row) for row in store.all("SELECT * FROM application ORDER BY name")
        }
        life = store.value("SELECT life FROM model")
        created = store.value("SELECT created FROM model")
        storage = storagereport.storage(model)
        related = _relations(model)
    found: dict[str, Any] = {
        "model": {
            "name": model.name,
            "type": "iaas",
            "controller": "tabletop",
            "cloud": "localhost",
            "region": "localhost",
            "version": model.settings.juju_version,
            "model-status": {
                "current": "available" if life == "alive" else "destroying",
                "since": rfc3339(created),
            },
            "sla": "unsupported",
        },
        "machines": machines,
        "applications": applications,
        "relations": related,
        "controller": {"timestamp": time.strftime("%H:%M:%SZ", time.gmtime())},
    }
    if storage:
        found["storage"] = storage
    return found


def show_unit(model: Model, name: str) -> dict[str, Any]:
    """Describe a unit with its relations and their databags.

    Raises:
        NotFoundError: there is no such unit.
    """
    with model.store.read():
        unit = model.unit(name)
        application = model.application(unit["application"])
        address = _address(model, unit)
        info: dict[str, Any] = {
            "workload-version": application["workload_version"],
            "machine": str(unit["machine"]),
            "opened-ports": _ports(model, unit["name"]),
            "public-address": address,
            "address": address,
            "charm": _charm_url(application),
            "leader": model.leader(unit["application"]) == unit["name"],
            "life": unit["life"],
            "relation-info": [
                _relation_info(model, unit, relation_id, relation)
                for relation_id, relation in sorted(snapshot.relations_of(model, unit).items())
            ],
        }
    return {unit["name"]: info}


def _machine(model: Model, row: Any, cut: str) -> dict[str, Any]:
    state = _MACHINE_STATES.get(row["state"], "pending")
    ready = state == "started"
    since = rfc3339(row["since"])
    found: dict[str, Any] = {
        "juju-status": {"current": state, "since": since, "version": model.settings.juju_version},
        "hostname": row["name"],
        "dns-name": row["address"],
        "ip-addresses": [row["address"]] if row["address"] else [],
        "instance-id": row["name"],
        "machine-status": {
            "current": "running" if ready else "provisioning error" if row["state"] == "error" else "pending",
            "message": "; ".join(filter(None, (row["message"], cut))),
            "since": since,
        },
        "modification-status": {"current": "idle", "since": since},
        "base": hardware.base(),
        "hardware": hardware.characteristics(row["constraints"]),
    }
    if row["address"]:
        found["network-interfaces"] = {
            "host0": {"ip-addresses": [row["address"]], "mac-address": "", "is-up": ready, "space": "alpha"}
        }
    wanted = constraints.show(json.loads(row["constraints"]))
    if wanted:
        found["constraints"] = wanted
    return found


def _application(model: Model, row: Any) -> dict[str, Any]:
    units = {
        one["name"]: _unit(model, one)
        for one in model.store.all("SELECT * FROM unit WHERE application = ? ORDER BY number", row["name"])
    }
    charm = model.charm(row["charm"])
    found: dict[str, Any] = {
        "charm": _charm_url(row),
        "base": hardware.base(),
        "charm-origin": "local",
        "charm-name": row["charm_name"],
        "charm-rev": row["charm_rev"],
        "charm-version": charm.version,
        "exposed": False,
        "scale": len(units),
        "application-status": _application_status(row, units),
        "relations": _related_to(model, row["name"]),
        "units": units,
        "endpoint-bindings": {"": "alpha", **dict.fromkeys(charm.endpoints, "alpha")},
    }
    if charm.subordinate:
        # Its units stand under their principals.
        found["units"] = {}
        found["subordinate-to"] = _principals(model, row["name"])
    if row["workload_version"]:
        found["version"] = row["workload_version"]
    if row["life"] != "alive":
        found["life"] = row["life"]
    return found


def _application_status(row: Any, units: Mapping[str, Any]) -> dict[str, Any]:
    if row["status"] is not None:
        return {"current": row["status"], "message": row["message"], "since": rfc3339(row["since"])}
    worst: dict[str, Any] = {"current": "unknown", "message": "", "since": rfc3339(row["since"])}
    found = [unit["workload-status"] for unit in units.values()]
    if found:
        worst = min(found, key=lambda one: _WORST_FIRST.index(one["current"]))
    return dict(worst)


def _unit(model: Model, row: Any) -> dict[str, Any]:
    operation = Operation.of(row)
    workload = {"current": row["status"], "message": row["message"], "since": rfc3339(row["since"])}
    if operation is not None and operation.state == "failed":
        workload = {
            "current": "error",
            "message": f'hook failed: "{operation.event.hook_name}"',
            "since": rfc3339(row["agent_since"]),
        }
    address = _address(model, row)
    found: dict[str, Any] = {
        "workload-status": workload,
        "juju-status": _agent_status(model, row, operation),
        "leader": model.leader(row["application"]) == row["name"],
        "machine": str(row["machine"]),
        "open-ports": _ports(model, row["name"]),
        "public-address": address,
        "address": address,
    }
    if not found["leader"]:
        del found["leader"]
    if row["principal"] is not None:
        del found["machine"]
    below = {name: _unit(model, model.unit(name)) for name in subordinates.of(model, row["name"])}
    if below:
        found["subordinates"] = below
    return found


def _principals(model: Model, application: str) -> list[str]:
    rows = model.store.all(
        "SELECT DISTINCT other.application FROM endpoint AS mine JOIN relation ON relation.id = mine.relation"
        " JOIN endpoint AS other ON other.relation = mine.relation AND other.application != mine.application"
        " WHERE mine.application = ? AND relation.scope = 'container' ORDER BY other.application",
        application,
    )
    return [row["application"] for row in rows]


def _agent_status(model: Model, row: Any, operation: Operation | None) -> dict[str, Any]:
    """Idle only if there is nothing to do: right after a command, an agent that has not looked yet isn't idle."""
    found: dict[str, Any] = {"since": rfc3339(row["agent_since"]), "version": model.settings.juju_version}
    if row["life"] != "alive":
        found["life"] = row["life"]
    machine = model.store.value("SELECT state FROM machine WHERE number = ?", row["machine"])
    running = model.store.one(
        "SELECT name, kind FROM task WHERE unit = ? AND status IN ('running', 'aborting')", row["name"]
    )
    if operation is not None and operation.state == "running":
        return {**found, "current": "executing", "message": f"running {operation.event.hook_name} hook"}
    if running is not None:
        return {**found, "current": "executing", "message": f"running action {running['name']}"}
    if machine != "started":
        return {**found, "current": "allocating" if machine in ("pending", "error") else "lost"}
    decision = decide(model, row)
    if decision.what == "hook" and decision.event is not None:
        return {**found, "current": "executing", "message": f"running {decision.event.hook_name} hook"}
    return {**found, "current": "idle" if decision.what == "wait" else "executing"}


def _ports(model: Model, unit: str) -> list[str]:
    rows = model.store.all(
        "SELECT DISTINCT protocol, from_port, to_port FROM opened_port WHERE unit = ? ORDER BY 2, 3, 1", unit
    )
    return [str(Port(row["protocol"], row["from_port"], row["to_port"])) for row in rows]


def _address(model: Model, unit: Any) -> str:
    return model.store.value("SELECT address FROM machine WHERE number = ?", unit["machine"]) or ""


def _charm_url(application: Any) -> str:
    return f"local:{application['charm_name']}-{application['charm_rev']}"


def _related_to(model: Model, application: str) -> dict[str, list[dict[str, str]]]:
    rows = model.store.all(
        "SELECT mine.name, mine.role, mine.application, other.application AS remote, relation.interface, relation.scope"
        " FROM endpoint AS mine JOIN relation ON relation.id = mine.relation"
        " LEFT JOIN endpoint AS other ON other.relation = mine.relation AND other.application != mine.application"
        " WHERE mine.application = ? ORDER BY mine.name, relation.id",
        application,
    )
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(
            {
                "related-application": row["remote"] or application,
                "interface": row["interface"],
                "scope": row["scope"],
            }
        )
    return found


def _relations(model: Model) -> list[dict[str, str]]:
    rows = model.store.all("SELECT * FROM relation ORDER BY id")
    found: list[dict[str, str]] = []
    for row in rows:
        ends = {
            one["role"]: f"{one['application']}:{one['name']}"
            for one in model.store.all("SELECT * FROM endpoint WHERE relation = ?", row["id"])
        }
        peer = ends.get("peer", "")
        found.append(
            {
                "provider": ends.get("provider", peer),
                "requirer": ends.get("requirer", peer),
                "interface": row["interface"],
                "type": "peer" if peer else "subordinate" if row["scope"] == "container" else "regular",
            }
        )
    return found


def _relation_info(model: Model, unit: Any, relation_id: int, relation: Any) -> dict[str, Any]:
    mine = relations.read_databag(model, relation_id, unit["name"])
    remote_endpoint = model.store.value(
        "SELECT name FROM endpoint WHERE relation = ? AND application = ?", relation_id, relation.remote_app
    )
    info: dict[str, Any] = {
        "relation-id": relation_id,
        "endpoint": relation.endpoint,
        "related-endpoint": remote_endpoint,
        "application-data": relations.read_databag(model, relation_id, relation.remote_app) or {},
        "related-units": {
            member: {"in-scope": True, "data": relations.read_databag(model, relation_id, member) or {}}
            for member in sorted(relation.members)
        },
    }
    if mine is not None:
        info["local-unit"] = {"in-scope": True, "data": mine}
    return info
