"""The tools about secrets. What they change is committed with the hook; which revision a unit follows, at once."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tabletop.engine import secrets
from tabletop.engine.durations import parse_time, rfc3339
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools.call import Call
from tabletop.engine.secrets import ROTATIONS, Draft
from tabletop.errors import TabletopError

_ID = re.compile(r"[0-9a-z]{20}\Z")


def secret_add(call: Call) -> str:
    """Add a secret and print its URI."""
    context = call.context
    content = _content(call, call.arguments)
    if not content:
        raise ToolError("missing secret value or filename", 2)
    kind = call.options.get("owner", "application")
    if kind not in ("application", "unit"):
        raise ToolError(f'secret owner "{kind}" not valid', 2)
    if kind == "application" and not context.is_leader:
        raise ToolError("this unit is not the leader")
    draft = Draft(kind, context.application if kind == "application" else context.unit, created=True, content=content)
    _describe(call, draft, "")
    secret_id = secrets.new_id()
    context.secrets[secret_id] = draft
    return call.render(f"secret:{secret_id}")


def secret_set(call: Call) -> str:
    """Give a secret a new revision or other attributes."""
    uri = call.required(0, "secret URI")
    draft = _managed(call.context, uri)
    content = _content(call, call.arguments[1:])
    _describe(call, draft, secrets.plain_id(uri))
    if content:
        draft.content = content
    return ""


def secret_remove(call: Call) -> str:
    """Remove a secret or one revision of it."""
    draft = _managed(call.context, call.required(0, "secret URI"))
    revision = call.options.get("revision")
    if revision is None:
        draft.removed = True
    elif not revision.isdecimal():
        raise ToolError(f'invalid value "{revision}" for option --revision', 2)
    else:
        draft.removed_revisions.add(int(revision))
    return ""


def secret_grant(call: Call) -> str:
    """Let the application on the other side of a relation, or one unit of it, read a secret."""
    draft = _managed(call.context, call.required(0, "secret URI"))
    if "relation" not in call.options:
        raise ToolError("no relation specified", 2)
    relation_id, relation = call.context.find_relation(call.options["relation"])
    unit = call.options.get("unit")
    if unit is not None and unit.partition("/")[0] != relation.remote_app:
        raise ToolError(f'unit "{unit}" is not in the relation')
    subject = unit or relation.remote_app
    draft.grants[subject] = relation_id
    draft.revoked.discard(subject)
    return ""


def secret_revoke(call: Call) -> str:
    """Take a grant back."""
    draft = _managed(call.context, call.required(0, "secret URI"))
    subject = call.options.get("unit") or call.options.get("app")
    if subject is None:
        if "relation" not in call.options:
            raise ToolError("must specify either an application, a unit or a relation", 2)
        subject = call.context.find_relation(call.options["relation"])[1].remote_app
    draft.revoked.add(subject)
    draft.grants.pop(subject, None)
    return ""


def secret_ids(call: Call) -> str:
    """List the secrets that the unit owns, or its application if it leads."""
    context = call.context
    owners = (context.unit, context.application if context.is_leader else context.unit)
    rows = context.model.store.all(
        "SELECT id FROM secret WHERE owner IN (?, ?) AND owner_kind != 'model' ORDER BY created", *owners
    )
    removed = {key for key, draft in context.secrets.items() if draft.removed}
    found = [row["id"] for row in rows if row["id"] not in removed]
    found += [key for key, draft in context.secrets.items() if draft.created and key not in removed]
    return call.render(found)


def secret_info_get(call: Call) -> str:
    """Describe a secret that the unit manages, without its content."""
    context = call.context
    secret_id = _resolve(call, owner_only=True)
    draft = _managed(context, secret_id)
    row = context.model.store.one("SELECT * FROM secret WHERE id = ?", secret_id)
    last = secrets.latest(context.model, secret_id)
    committed: Mapping[str, Any] = dict(row) if row else {}
    rotation = draft.rotate or committed.get("rotate", "never")
    grows = draft.content is not None and (
        last == 0 or secrets.content(context.model, secret_id, last) != draft.content
    )
    info: dict[str, Any] = {
        "revision": last + 1 if grows else last,
        "label": draft.label if draft.label is not None else committed.get("label", ""),
        "owner": draft.owner_kind,
        "rotation": rotation,
    }
    description = draft.description if draft.description is not None else committed.get("description", "")
    if description:
        info["description"] = description
    period = ROTATIONS[rotation]
    if period is not None:
        next_rotate = None if draft.rotate else committed.get("next_rotate")
        info["rotates"] = rfc3339(next_rotate or time.time() + period)
    expire = draft.expire or context.model.store.value(
        "SELECT expire FROM secret_revision WHERE secret = ? AND revision = ?", secret_id, last
    )
    if expire:
        info["expiry"] = rfc3339(expire)
    grants = context.model.store.all("SELECT subject, relation FROM secret_grant WHERE secret = ?", secret_id)
    if grants:
        info["access"] = [{"target": _tag(one["subject"]), "role": "view"} for one in grants]
    return call.render({secret_id: info})


def secret_get(call: Call) -> str:
    """Print the content of a secret: of the revision that the unit follows, or the latest."""
    context = call.context
    peek, refresh = call.flag("peek"), call.flag("refresh")
    if peek and refresh:
        raise ToolError("specify one of --peek or --refresh but not both", 2)
    secret_id = _resolve(call)
    label = call.options.get("label")
    content = _read(context, secret_id, label, peek=peek, refresh=refresh)
    key = call.argument(1)
    if key is not None:
        name, _, form = key.partition("#")
        if name not in content:
            raise ToolError(f'secret key "{name}" not found')
        value = base64.b64encode(content[name].encode()).decode() if form == "base64" else content[name]
        return call.render(value)
    return call.render(content)


def _read(context: HookContext, secret_id: str, label: str | None, *, peek: bool, refresh: bool) -> Mapping[str, str]:
    model = context.model
    draft = context.secrets.get(secret_id)
    if draft is not None and draft.removed:
        raise ToolError(f'secret "{secret_id}" not found')
    if draft is not None and draft.content is not None and (draft.created or peek or refresh):
        return draft.content
    with model.store.write(wake=False):
        secret = _call(secrets.find, model, secret_id)
        if not secrets.may_read(model, secret, context.unit):
            raise ToolError("permission denied")
        last = secrets.latest(model, secret_id)
        followed = model.store.value(
            "SELECT revision FROM secret_consumer WHERE secret = ? AND unit = ?", secret_id, context.unit
        )
        if followed is None or refresh:
            secrets.follow(model, secret_id, context.unit, last, label)
            followed = last
        elif label and not secrets.manages(model, secret, context.unit):
            secrets.follow(model, secret_id, context.unit, followed, label)
        return _call(secrets.content, model, secret_id, last if peek else followed)


def _call(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except TabletopError as error:
        raise ToolError(str(error)) from None


def _resolve(call: Call, *, owner_only: bool = False) -> str:
    """Return the id of the secret that the call names by URI or by label."""
    context = call.context
    uri, label = call.argument(0), call.options.get("label")
    if uri is not None:
        secret_id = secrets.plain_id(uri)
        if not _ID.match(secret_id):
            raise ToolError(f'secret URI "{uri}" not valid', 2)
        return secret_id
    if label is None:
        raise ToolError("require either a secret URI or label", 2)
    for secret_id, draft in context.secrets.items():
        if draft.label == label and not draft.removed:
            return secret_id
    store = context.model.store
    found = store.value(
        "SELECT id FROM secret WHERE label = ? AND owner IN (?, ?)", label, context.unit, context.application
    )
    if found is None and not owner_only:
        found = store.value("SELECT secret FROM secret_consumer WHERE label = ? AND unit = ?", label, context.unit)
    if found is None:
        raise ToolError(
            f'secret with label "{label}" not found' if owner_only else f'consumer label "{label}" not found'
        )
    return found


def _managed(context: HookContext, uri: str) -> Draft:
    """Return the draft of a secret that the unit may change."""
    secret_id = secrets.plain_id(uri)
    draft = context.secrets.get(secret_id)
    if draft is None:
        secret = _call(secrets.find, context.model, secret_id)
        if not secrets.manages(context.model, secret, context.unit):
            raise ToolError(
                "permission denied" if secret["owner_kind"] != "application" else _not_leader(context, secret)
            )
        draft = context.secrets[secret_id] = Draft(secret["owner_kind"], secret["owner"])
    if draft.removed:
        raise ToolError(f'secret "{secret_id}" not found')
    return draft


def _not_leader(context: HookContext, secret: Any) -> str:
    return "this unit is not the leader" if secret["owner"] == context.application else "permission denied"


def _describe(call: Call, draft: Draft, secret_id: str) -> None:
    label = call.options.get("label")
    if label is not None:
        _check_label(call.context, draft, secret_id, label)
        draft.label = label
    if "description" in call.options:
        draft.description = call.options["description"]
    rotate = call.options.get("rotate")
    if rotate is not None:
        if rotate not in ROTATIONS:
            raise ToolError(f'rotate policy "{rotate}" not valid', 2)
        draft.rotate = rotate
    if "expire" in call.options:
        try:
            draft.expire = parse_time(call.options["expire"], time.time())
        except TabletopError as error:
            raise ToolError(f"expire time or duration: {error}", 2) from None


def _check_label(context: HookContext, draft: Draft, secret_id: str, label: str) -> None:
    taken = context.model.store.value(
        "SELECT count(*) FROM secret WHERE label = ? AND label != '' AND owner = ? AND id != ?",
        label,
        draft.owner,
        secret_id,
    )
    drafted = any(
        other is not draft and other.label == label and other.owner == draft.owner and not other.removed
        for other in context.secrets.values()
    )
    if label and (taken or drafted):
        raise ToolError(f'secret with label "{label}" already exists')


def _content(call: Call, arguments: Sequence[str]) -> dict[str, str]:
    content = call.mapping_file()
    for argument in arguments:
        key, equals, value = argument.partition("=")
        name, _, form = key.partition("#")
        if not equals or not name:
            raise ToolError(f'key value "{key}" not valid', 2)
        if form == "file":
            content[name] = call.file(value)
        elif form == "base64":
            content[name] = _decode(name, value)
        else:
            content[name] = value
    return content


def _decode(name: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        raise ToolError(f'the value of "{name}" is not base64', 2) from None


def _tag(subject: str) -> str:
    return f"unit-{subject.replace('/', '-')}" if "/" in subject else f"application-{subject}"
