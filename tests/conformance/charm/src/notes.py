"""What the hooks saw, one JSON object a line in a file beside the charm, which outlives hooks and restarts.

What a hook command finds out from the hook by itself, not being told a relation or a storage, can be seen only here.
"""

import json
import os
from pathlib import Path
from typing import Any

from ops import hookcmds

_FOLDER = Path(os.environ["JUJU_CHARM_DIR"]).parent
_FILE = _FOLDER / "notes.jsonl"
_KEYS = (
    "RELATION_ID",
    "REMOTE_APP",
    "REMOTE_UNIT",
    "DEPARTING_UNIT",
    "SECRET_ID",
    "SECRET_LABEL",
    "SECRET_REVISION",
    "STORAGE_ID",
)


def from_hook() -> dict[str, Any]:
    """Return what the hook that runs is about, and what the hook commands make of that."""
    hook = os.environ["JUJU_HOOK_NAME"]
    note: dict[str, Any] = {"hook": hook, "action": _refusal(hookcmds.action_get)}
    note |= {key.lower(): os.environ[f"JUJU_{key}"] for key in _KEYS if os.environ.get(f"JUJU_{key}")}
    if "relation_id" in note:
        note["list"] = hookcmds.relation_list()
        note["app"] = hookcmds.relation_list(app=True)
        note["model"] = hookcmds.relation_model_get().uuid
        if not hook.endswith("-broken"):
            note["data"] = hookcmds.relation_get()
            hookcmds.relation_set({"last-hook": hook})
    if "storage_id" in note:
        storage = hookcmds.storage_get()
        note["storage"] = [storage.kind, str(storage.location)]
    return note


def keep(note: dict[str, Any]) -> None:
    """Append a note."""
    with _FILE.open("a") as file:
        file.write(json.dumps(note) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read() -> list[dict[str, Any]]:
    """Return the notes, oldest first."""
    return [json.loads(line) for line in _FILE.read_text().splitlines()] if _FILE.exists() else []


def first_time(what: str) -> bool:
    """Tell whether something is asked for the first time, and note on the disk that it was."""
    mark = _FOLDER / f"{what}.mark"
    if mark.exists():
        return False
    mark.touch()
    os.sync()
    return True


def _refusal(function: Any) -> str:
    try:
        function()
    except hookcmds.Error as error:
        return error.stderr.strip()
    return "not refused"
