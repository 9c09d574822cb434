"""The tools about what a unit keeps in the model from hook to hook."""

import json
from collections.abc import Mapping

from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call

_KEY_BYTES = 256
_VALUE_BYTES = 64 << 10


def state_get(call: Call) -> str:
    """Return the unit's state or one key of it."""
    state = _state(call.context)
    key = call.argument(0)
    if key in (None, "", "-"):
        return call.render(dict(state))
    if key not in state and call.flag("strict"):
        raise ToolError(f'"{key}" not found')
    return call.render(state.get(key, ""))


def state_set(call: Call) -> str:
    """Set keys of the unit's state."""
    changes: Mapping[str, str] = {**call.mapping_file(), **call.pairs(call.arguments)}
    for key, value in changes.items():
        if len(key.encode()) > _KEY_BYTES:
            raise ToolError(f"max allowed key length ({_KEY_BYTES}) exceeded")
        if len(value.encode()) > _VALUE_BYTES:
            raise ToolError(f"max allowed value length ({_VALUE_BYTES}) exceeded")
    _state(call.context).update(changes)
    return ""


def state_delete(call: Call) -> str:
    """Remove a key of the unit's state."""
    _state(call.context).pop(call.argument(0) or "", None)
    return ""


def _state(context: HookContext) -> dict[str, str]:
    state = context.state
    if state is None:
        state = context.state = json.loads(
            context.model.store.value("SELECT state FROM unit WHERE name = ?", context.unit)
        )
    return state
