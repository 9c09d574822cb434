"""The tools that change secrets. What they do is committed, or refused, when the hook ends."""

from tabletop.engine import secrets
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools import secretcontent
from tabletop.engine.hooktools.call import Call
from tabletop.engine.hooktools.options import no_more
from tabletop.engine.hooktools.secretcontent import secret_id
from tabletop.engine.secrets import Draft

_NOT_LEADER = "this unit is not the leader"
_MISSING = "missing secret URI"


def secret_add(call: Call) -> str:
    """Add a secret and print its URI."""
    context = call.context
    if not call.arguments and "file" not in call.options:
        raise ToolError("missing secret value or filename", 2)
    kind = call.options.get("owner", "application")
    owner = context.unit if kind == "unit" else context.application
    draft = Draft(kind, owner, created=True, touched=True)
    secretcontent.describe(call, draft)
    draft.content = secretcontent.content(call, call.arguments)
    if not draft.content:
        raise ToolError("empty secret value not valid")
    if kind == "application" and not context.is_leader:
        raise ToolError(_NOT_LEADER)
    _check_label(context, draft)
    key = secrets.new_id()
    context.secrets[key] = draft
    return f"secret://{context.model.uuid}/{key}\n"


def secret_set(call: Call) -> str:
    """Give a secret a new revision or other attributes."""
    draft = _draft(call)
    secretcontent.describe(call, draft)
    content = secretcontent.content(call, call.arguments[1:])
    draft.touched = True
    if content:
        draft.content = content
    return ""


def secret_remove(call: Call) -> str:
    """Remove a secret or one revision of it."""
    revision = call.options.get("revision", "0")
    if not revision.lstrip("-").isdecimal():
        raise ToolError(
            f'invalid value "{revision}" for option --revision: strconv.ParseInt: parsing "{revision}": invalid syntax',
            2,
        )
    draft = _draft(call)
    draft.touched = True
    if int(revision) > 0:
        draft.removed_revisions.add(int(revision))
    else:
        draft.removed = True
    return ""


def secret_grant(call: Call) -> str:
    """Let the application on the other side of a relation, or one unit of it, read a secret."""
    context = call.context
    key = secret_id(call.required(0, _MISSING))
    relation_id, relation = call.relation()
    unit = call.options.get("unit")
    if unit:
        application, slash, number = unit.partition("/")
        if not slash or not number.isdecimal():
            raise ToolError(f'unit "{unit}" not valid', 2)
        if application != relation.remote_app:
            raise ToolError(f'cannot specify unit "{unit}" in relation to application "{relation.remote_app}"', 2)
    no_more(call.arguments[1:])
    if key not in secrets.managed(context.model, context.unit, context.secrets):
        raise ToolError(f'secret "{key}" not found')
    draft = _draft(call)
    subject = unit or relation.remote_app
    granted = secrets.grants(context.model, key, draft)
    if relation.remote_app in granted:
        return ""
    if not unit and any(one.partition("/")[0] == subject for one in granted):
        raise ToolError(
            "any unit level grants need to be revoked before granting access to the corresponding application"
        )
    draft.touched = True
    draft.grants[subject] = relation_id
    draft.revoked.discard(subject)
    return ""


def secret_revoke(call: Call) -> str:
    """Take a grant back."""
    secret_id(call.required(0, _MISSING))
    app, unit = call.options.get("app", ""), call.options.get("unit", "")
    if app and unit:
        raise ToolError("specify only one of application or unit", 2)
    relation = call.relation_if_any()
    if relation is not None:
        if app:
            raise ToolError("do not specify both relation and app", 2)
        app = relation[1].remote_app
    if not app and not unit:
        raise ToolError("missing relation or application or unit", 2)
    no_more(call.arguments[1:])
    draft = _draft(call)
    draft.touched = True
    draft.revoked.add(unit or app)
    draft.grants.pop(unit or app, None)
    return ""


def _draft(call: Call) -> Draft:
    """Return what the hook has done to the secret that a call names; whether it may is seen when the hook ends."""
    key = secret_id(call.required(0, _MISSING))
    drafts = call.context.secrets
    if key not in drafts:
        drafts[key] = Draft("", "")
    drafts[key].removed = False
    return drafts[key]


def _check_label(context: HookContext, draft: Draft) -> None:
    if draft.label and any(other.created and other.label == draft.label for other in context.secrets.values()):
        raise ToolError(f'secret with label "{draft.label}" already exists')
