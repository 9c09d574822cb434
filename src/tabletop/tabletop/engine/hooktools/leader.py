"""The tools about leadership, with the settings that leaders shared before applications had databags."""

from tabletop.engine import leadership
from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call


def is_leader(call: Call) -> str:
    """Tell whether the unit leads."""
    leads = call.context.is_leader
    return call.render(leads)


def leader_get(call: Call) -> str:
    """Return the settings of the leader or one of them; a hook sees those that it saw first."""
    key = call.argument(0)
    if key is not None and "=" in key:
        raise ToolError(f'invalid key "{key}"', 2)
    context = call.context
    if context.leader_settings is None:
        context.leader_settings = leadership.settings(context.model, context.application)
    settings = context.leader_settings
    return call.render(settings if key in (None, "", "-") else settings.get(key))


def leader_set(call: Call) -> str:
    """Change settings of the leader, at once; the other units are told."""
    context = call.context
    changes = call.pairs(call.arguments)
    if not context.is_leader:
        raise ToolError("cannot write leadership settings: cannot write settings: not the leader")
    leadership.merge(context.model, context.application, changes)
    context.leader_settings = None
    return ""
