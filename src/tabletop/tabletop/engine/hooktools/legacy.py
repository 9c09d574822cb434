"""Tools that Juju still has and nothing behind them: payloads and metrics."""

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

_STATES = ("running", "starting", "stopped", "stopping")
_MISSING = "missing required arguments"


def payload_register(call: Call) -> str:
    """Check a payload against the charm's metadata; nothing shows payloads, so none is kept."""
    kind, name = call.required(0, _MISSING), call.required(1, _MISSING)
    call.required(2, _MISSING)
    known = call.context.model.charm_of(call.context.application).payloads
    if name not in known:
        raise ToolError(f'payload "{name}" not found in metadata.yaml')
    if kind != known[name]:
        raise ToolError(f'incorrect type "{kind}" for payload "{name}", expected "{known[name]}"')
    return ""


def payload_status_set(call: Call) -> str:
    """Check the status of a payload."""
    call.required(2, _MISSING)
    status = call.arguments[2]
    if status not in _STATES:
        states = '", "'.join(_STATES)
        raise ToolError(f'status "{status}" not supported; expected one of ["{states}"]')
    return ""


def payload_unregister(call: Call) -> str:
    """Forget a payload, of which nothing was kept."""
    call.required(1, _MISSING)
    return ""


def add_metric(call: Call) -> str:
    """Refuse, as Juju does in every hook but one that it doesn't run any more."""
    if not call.arguments:
        raise ToolError("no metrics specified", 2)
    try:
        call.pairs(call.arguments)
    except ToolError as error:
        raise ToolError(f"invalid metrics: {error}", 2) from None
    raise ToolError("cannot record metric: metrics not allowed in this context")
