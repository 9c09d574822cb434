"""The tools about relations and their databags."""

import re

from tabletop.engine import relations, subordinates
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call
from tabletop.engine.lifecycle import RemoteRelation

_APPLICATION = re.compile(r"[a-z](?:[a-z0-9]*(?:-[a-z0-9]*[a-z][a-z0-9]*)*)\Z")
_UNIT = re.compile(rf"{_APPLICATION.pattern[:-2]}/(?:0|[1-9][0-9]*)\Z")


def relation_ids(call: Call) -> str:
    """List the relations of an endpoint."""
    event = call.context.event
    name = call.argument(0)
    if name is None:
        name = event.endpoint if event else ""
        if not name:
            raise ToolError("no endpoint name specified", 2)
    found = [f"{name}:{key}" for key, relation in call.context.relations().items() if relation.endpoint == name]
    return call.render(sorted(found))


def relation_list(call: Call) -> str:
    """List the remote units of a relation, or its remote application."""
    relation_id, relation = call.relation()
    return call.render(relation.remote_app if call.flag("app") else call.context.members(relation_id))


def relation_model_get(call: Call) -> str:
    """Tell the model on the other side: always this one."""
    call.relation()
    return call.render({"uuid": call.context.model.uuid})


def relation_get(call: Call) -> str:
    """Read a databag or one key of it."""
    context = call.context
    relation_id, relation = call.relation()
    key = call.argument(0) or "-"
    entity = _entity(call)
    data = context.databag(relation_id, entity)
    if "/" in entity:
        if entity.partition("/")[0] not in (context.application, relation.remote_app):
            raise ToolError("permission denied")
        if data is None or not subordinates.meet(context.model, relation_id, context.unit, entity):
            name = relations.key_of(context.model, relation_id)
            raise ToolError(f'cannot read settings for unit "{entity}" in relation "{name}": settings not found')
    elif not _may_read(context, relation, entity):
        raise ToolError("permission denied")
    data = data or {}
    return call.render(data if key == "-" else data.get(key))


def _may_read(context: HookContext, relation: RemoteRelation, application: str) -> bool:
    """Tell whether a unit may read an application's databag: its own one only in peer relations, or if it leads."""
    return application == relation.remote_app or (application == context.application and context.is_leader)


def _entity(call: Call) -> str:
    """Return whose databag is meant: that of who is named, or who the hook is about."""
    event = call.context.event
    given = call.argument(1)
    whole = call.flag("app")
    if given is not None:
        is_unit = _UNIT.match(given)
        if whole:
            return given.partition("/")[0] if is_unit else given
        if not is_unit:
            if _APPLICATION.match(given):
                raise ToolError(f'expected unit name, got application name "{given}"', 2)
            raise ToolError(f'invalid unit name "{given}"', 2)
        return given
    # Where a hook is about no unit, the application's databag is read.
    name = (event.remote_app if whole else event.remote_unit or event.remote_app) if event else ""
    if not name:
        raise ToolError("no unit or application specified", 2)
    return name


def relation_set(call: Call) -> str:
    """Change keys of the unit's own databag, or of its application's."""
    context = call.context
    relation_id, _ = call.relation()
    changes = {**call.mapping_file(), **call.pairs(call.arguments)}
    if call.flag("app") and not context.is_leader:
        raise ToolError("cannot write relation settings")
    context.write_databag(relation_id, context.application if call.flag("app") else context.unit, changes)
    return ""
