"""What storage there is, in the shape of `juju storage --format json`."""

from typing import Any

from tabletop.engine.durations import rfc3339
from tabletop.engine.model import Model
from tabletop.engine.storagespec import POOL

_LIVES = {"alive": "alive", "detaching": "alive", "dying": "dying"}


def storage(model: Model) -> dict[str, Any]:
    """Describe all storage of a model; empty if there is none."""
    with model.store.read():
        rows = model.store.all(
            "SELECT storage.*, unit.machine, machine.state FROM storage LEFT JOIN unit ON unit.name = storage.unit"
            " LEFT JOIN machine ON machine.number = unit.machine ORDER BY storage.rowid"
        )
    if not rows:
        return {}
    return {
        "storage": {row["id"]: _instance(row) for row in rows},
        "filesystems": {row["id"].rpartition("/")[2]: _filesystem(row) for row in rows},
    }


def _instance(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": "filesystem",
        "life": _LIVES[row["life"]],
        "status": _status(row),
        "persistent": True,
    }
    if row["unit"] is not None:
        found["attachments"] = {"units": {row["unit"]: _of_unit(row)}}
    return found


def _filesystem(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "provider-id": row["id"].replace("/", "-"),
        "storage": row["id"],
        "pool": POOL,
        "size": row["size"],
        "life": _LIVES[row["life"]],
        "status": _status(row),
    }
    if row["unit"] is not None:
        mounted = {"mount-point": row["location"], "read-only": bool(row["read_only"]), "life": _attachment_life(row)}
        found["attachments"] = {
            "machines": {str(row["machine"]): mounted},
            "units": {row["unit"]: _of_unit(row)},
        }
    return found


def _of_unit(row: Any) -> dict[str, Any]:
    return {"machine": str(row["machine"]), "location": row["location"], "life": _attachment_life(row)}


def _attachment_life(row: Any) -> str:
    return "alive" if row["life"] == "alive" else "dying"


def _status(row: Any) -> dict[str, Any]:
    if row["unit"] is None:
        current = "detached"
    elif row["life"] != "alive":
        current = "detaching"
    else:
        current = "attached" if row["state"] == "started" else "pending"
    return {"current": current, "since": rfc3339(row["since"])}
