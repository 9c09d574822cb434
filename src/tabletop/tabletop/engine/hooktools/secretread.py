"""The tools that read secrets; which revision a unit follows is noted at once."""

import base64
from collections.abc import Mapping
from typing import Any

from tabletop.engine import relations, secrets
from tabletop.engine.durations import rfc3339
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call
from tabletop.engine.hooktools.secretcontent import secret_id
from tabletop.engine.secrets import Draft
from tabletop.errors import TabletopError


def secret_ids(call: Call) -> str:
    """List the secrets that the unit owns, and those of its application if it leads."""
    context = call.context
    return call.render(list(secrets.managed(context.model, context.unit, context.secrets)))


def secret_info_get(call: Call) -> str:
    """Describe a secret that the unit manages, without its content."""
    context = call.context
    uri, label = call.argument(0), call.options.get("label")
    if not uri and not label:
        raise ToolError("require either a secret URI or label", 2)
    if uri and label:
        raise ToolError("specify either a secret URI or label but not both", 2)
    wanted = secret_id(uri) if uri else label or ""
    for key, row in secrets.managed(context.model, context.unit, context.secrets).items():
        draft = context.secrets.get(key) or Draft("", "")
        info = _describe(context, key, row, draft)
        if wanted == (key if uri else info["label"]):
            return call.render({key: info})
    raise ToolError(f'secret "{wanted}" not found')


def _describe(context: HookContext, key: str, row: Any, draft: Draft) -> dict[str, Any]:
    known: Mapping[str, Any] = dict(row) if row is not None else {}
    last = secrets.latest(context.model, key)
    info: dict[str, Any] = {
        "revision": last or 1,
        "label": draft.label or known.get("label", ""),
        "owner": known.get("owner_kind") or draft.owner_kind,
    }
    optional = {
        "description": draft.description or known.get("description"),
        "rotation": draft.rotate or known.get("rotate"),
        "rotates": known.get("next_rotate"),
        "expiry": draft.expire or secrets.expiry(context.model, key, last),
    }
    for name, value in optional.items():
        if value:
            info[name] = rfc3339(value) if isinstance(value, float) else value
    access = [
        {"target": secrets.reader_tag(subject), "scope": _scope(context, relation), "role": "view"}
        for subject, relation in secrets.grants(context.model, key, draft).items()
    ]
    return {**info, "access": access} if access else info


def _scope(context: HookContext, relation: int | None) -> str:
    if relation is None:
        return f"model-{context.model.uuid}"
    return "relation-" + relations.key_of(context.model, relation).replace(":", ".").replace(" ", "#")


def secret_get(call: Call) -> str:
    """Print the content of a secret: of the revision that the unit follows, or the latest."""
    uri = call.argument(0)
    label = call.options.get("label") or None
    key = secret_id(uri) if uri else None
    if key is None and label is None:
        raise ToolError("require either a secret URI or label", 2)
    peek, refresh = call.flag("peek"), call.flag("refresh")
    if peek and refresh:
        raise ToolError("specify one of --peek or --refresh but not both", 2)
    content = _pending(call.context, key, label, peek=peek, refresh=refresh)
    if content is None:
        content = _committed(call.context, key, label, peek=peek, refresh=refresh)
    wanted = call.argument(1)
    if not wanted:
        return call.render(dict(content))
    name = wanted.removesuffix("#base64")
    if name not in content:
        raise ToolError(f'secret key value "{name}" not found')
    return call.render(content[name] if name == wanted else base64.b64encode(content[name].encode()).decode())


def _pending(
    context: HookContext, key: str | None, label: str | None, *, peek: bool, refresh: bool
) -> Mapping[str, str] | None:
    """Return the content that this hook itself has given the secret, if that is the one to be seen."""
    for known, draft in context.secrets.items():
        named = known == key if key else draft.label == label
        if not named or draft.removed or draft.content is None:
            continue
        if draft.created or peek or refresh:
            draft.label = label or draft.label
            draft.follow = draft.follow or (refresh and not draft.created)
            return draft.content
    return None


def _committed(
    context: HookContext, key: str | None, label: str | None, *, peek: bool, refresh: bool
) -> Mapping[str, str]:
    model = context.model
    with model.store.write(wake=False):
        if key is None:
            key = _by_label(context, label or "")
            label = None
        secret = _call(secrets.find, model, key)
        if not secrets.may_read(model, secret, context.unit):
            raise ToolError("permission denied")
        own = secret["owner"] in (context.unit, context.application)
        if own and label and secrets.manages(model, secret, context.unit):
            model.store.execute("UPDATE secret SET label = ? WHERE id = ?", label, key)
        if own:
            # The owner's label serves all of its units; consumers have one each.
            label = None
        last = secrets.latest(model, key)
        followed = model.store.value(
            "SELECT revision FROM secret_consumer WHERE secret = ? AND unit = ?", key, context.unit
        )
        if followed is None or refresh:
            followed = last
            secrets.follow(model, key, context.unit, last, label)
        elif label:
            secrets.follow(model, key, context.unit, followed, label)
        return _call(secrets.content, model, key, last if peek else followed)


def _by_label(context: HookContext, label: str) -> str:
    store = context.model.store
    found = store.value(
        "SELECT id FROM secret WHERE label = ?1 AND owner = ?2"
        " UNION ALL SELECT id FROM secret WHERE label = ?1 AND owner = ?3"
        " UNION ALL SELECT secret FROM secret_consumer WHERE label = ?1 AND unit = ?2",
        label,
        context.unit,
        context.application,
    )
    if found is None:
        raise ToolError(f'consumer label "{label}" not found')
    return found


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except TabletopError as error:
        raise ToolError(str(error)) from None
