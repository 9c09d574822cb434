"""What Juju refuses only at a hook's end: then the hook has failed, and all that it did is forgotten."""

from tabletop.engine import secrets, storage
from tabletop.engine.hooks import HookContext
from tabletop.engine.secrets import SecretError
from tabletop.errors import TabletopError


class CommitError(TabletopError):
    """What a hook did can't be committed; the text is Juju's."""


def check(context: HookContext) -> None:
    """Refuse what can't be committed; inside `write`.

    Raises:
        CommitError: something can't.
    """
    _check_ports(context)
    _check_storage(context)
    for secret_id, draft in context.secrets.items():
        try:
            secrets.check_draft(context.model, context.unit, secret_id, draft)
        except SecretError as error:
            raise CommitError(str(error)) from error


def _check_ports(context: HookContext) -> None:
    known = context.model.charm_of(context.application).endpoints
    for verb, ports in (("open", context.ports or ()), ("close", context.closed_ports)):
        for name in sorted({port.endpoint for port in ports} - {""}):
            if name not in known:
                raise CommitError(f'{verb} port range: endpoint "{name}" for unit "{context.unit}" not found')


def _check_storage(context: HookContext) -> None:
    model, unit = context.model, context.unit
    known = model.charm_of(context.application).storage
    for name, count in context.new_storage.items():
        if name not in known:
            raise CommitError(f'adding "{name}" storage to {unit}: charm storage "{name}" not found')
        there: int = model.store.value("SELECT count(*) FROM storage WHERE unit = ? AND name = ?", unit, name)
        most = known[name].maximum
        if most is None or there + count <= most:
            _check_location(context, name)
            continue
        if most == 1 and known[name].minimum == 1:
            raise CommitError(f'adding "{name}" storage to {unit}: cannot attach, storage is singular')
        plural = "" if count == 1 else "s"
        raise CommitError(
            f'adding "{name}" storage to {unit}: attaching {count} storage instance{plural} brings the total to'
            f" {there + count}, exceeding the maximum of {most}"
        )


def _check_location(context: HookContext, name: str) -> None:
    try:
        storage.location_of(context.model, context.model.unit(context.unit), name, f"{name}/new")
    except TabletopError as error:
        raise CommitError(f'adding "{name}" storage to {context.unit}: {error}') from error
