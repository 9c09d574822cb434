"""The tools about relations and their databags."""

from tabletop.engine import subordinates
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call
from tabletop.engine.lifecycle import RemoteRelation


def relation_ids(call: Call) -> str:
    """List the relations of an endpoint."""
    name = call.argument(0)
    event = call.context.event
    if name is None:
        if event is None or not event.endpoint:
            raise ToolError("no endpoint name specified", 2)
        name = event.endpoint
    found = [f"{name}:{key}" for key, relation in sorted(call.context.relations().items()) if relation.endpoint == name]
    return call.render(found)


def relation_list(call: Call) -> str:
    """List the remote units of a relation, or its remote application."""
    relation_id, relation = call.context.find_relation(call.options.get("relation"))
    return call.render(relation.remote_app if call.flag("app") else call.context.members(relation_id))


def relation_model_get(call: Call) -> str:
    """Tell the model on the other side: always this one."""
    call.context.find_relation(call.options.get("relation"))
    return call.render({"uuid": call.context.model.uuid})


def relation_get(call: Call) -> str:
    """Read a databag or one key of it."""
    context = call.context
    relation_id, relation = context.find_relation(call.options.get("relation"))
    key = call.argument(0) or "-"
    entity = _entity(call, relation)
    own = entity in (context.unit, context.application)
    if entity == context.application and relation.remote_app != entity and not context.is_leader:
        raise ToolError("permission denied")
    if not own and entity.partition("/")[0] != relation.remote_app:
        raise ToolError("permission denied")
    if "/" in entity and not subordinates.meet(context.model, relation_id, context.unit, entity):
        raise ToolError("permission denied")
    data = context.databag(relation_id, entity)
    if data is None:
        if "/" in entity and not own:
            raise ToolError(f'cannot read settings for unit "{entity}" in relation {relation_id}: settings not found')
        data = {}
    return call.render(data if key == "-" else data.get(key))


def _entity(call: Call, relation: RemoteRelation) -> str:
    context, event = call.context, call.context.event
    name = call.argument(1)
    if name is None and event is not None and event.relation_id is not None:
        name = event.remote_app if call.flag("app") else event.remote_unit
        if not name:
            # A change of the application's databag has no unit: Juju then reads that databag.
            name = relation.remote_app if event.kind == "relation-changed" else ""
    if not name:
        raise ToolError("no unit or application specified" if call.flag("app") else "no unit id specified", 2)
    if call.flag("app"):
        return name.partition("/")[0]
    if "/" not in name and name not in (context.application, relation.remote_app):
        raise ToolError(f'invalid value "{name}": not a unit or application', 2)
    return name


def relation_set(call: Call) -> str:
    """Change keys of the unit's own databag, or of its application's."""
    context = call.context
    relation_id, _ = context.find_relation(call.options.get("relation"))
    changes = {**call.mapping_file(), **call.pairs(call.arguments)}
    if call.flag("app"):
        _require_leader(context)
        context.write_databag(relation_id, context.application, changes)
    else:
        context.write_databag(relation_id, context.unit, changes)
    return ""


def _require_leader(context: HookContext) -> None:
    if not context.is_leader:
        raise ToolError("cannot write relation settings")
