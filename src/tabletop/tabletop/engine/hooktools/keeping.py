"""The tools about what a unit keeps: its state and its storage."""

import json

from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call


def state_get(call: Call) -> str:
    """Return the unit's state or one key of it."""
    state = _state(call.context)
    key = call.argument(0)
    return call.render(state if key is None else state.get(key, ""))


def state_set(call: Call) -> str:
    """Set keys of the unit's state."""
    _state(call.context).update({**call.mapping_file(), **call.pairs(call.arguments)})
    return ""


def state_delete(call: Call) -> str:
    """Remove a key of the unit's state."""
    _state(call.context).pop(call.required(0, "key"), None)
    return ""


def _state(context: HookContext) -> dict[str, str]:
    state = context.state
    if state is None:
        state = context.state = json.loads(
            context.model.store.value("SELECT state FROM unit WHERE name = ?", context.unit)
        )
    return state


def storage_list(call: Call) -> str:
    """List the unit's storage."""
    name = call.argument(0)
    rows = call.context.model.store.all("SELECT id, name FROM storage WHERE unit = ? ORDER BY id", call.context.unit)
    return call.render([row["id"] for row in rows if name in (None, row["name"])])


def storage_get(call: Call) -> str:
    """Return where a piece of storage is."""
    context = call.context
    storage_id = call.options.get("s") or (context.event.storage_id if context.event else "")
    if not storage_id:
        raise ToolError("no storage instance specified", 2)
    row = context.model.store.one("SELECT * FROM storage WHERE id = ? AND unit = ?", storage_id, context.unit)
    if row is None:
        raise ToolError(f'invalid value "{storage_id}" for option -s: storage not found', 2)
    values = {"kind": "filesystem", "location": row["location"]}
    key = call.argument(0)
    if key is None:
        return call.render(values)
    if key not in values:
        raise ToolError(f'invalid storage attribute "{key}"', 1)
    return call.render(values[key])


def storage_add(call: Call) -> str:
    """Ask for more instances of a kind of storage."""
    context = call.context
    known = context.model.charm_of(context.application).storage
    if not call.arguments:
        raise ToolError("storage add requires a storage directive", 2)
    for argument in call.arguments:
        name, _, count = argument.partition("=")
        if name not in known:
            raise ToolError(f'charm storage "{name}" not found')
        if count and not count.isdecimal():
            raise ToolError(f'storage directive "{argument}": expected a count; sizes and pools mean nothing here', 2)
        context.new_storage[name] = context.new_storage.get(name, 0) + int(count or 1)
    return ""
