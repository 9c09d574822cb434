"""The tools about the unit: its configuration, log, workload's version, cloud, and its machine's restart."""

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

_LEVELS = {
    "TRACE": "TRACE",
    "DEBUG": "DEBUG",
    "INFO": "INFO",
    "WARN": "WARNING",
    "WARNING": "WARNING",
    "ERROR": "ERROR",
    "CRITICAL": "ERROR",
}


def config_get(call: Call) -> str:
    """Return the configuration or one option."""
    context = call.context
    key = call.argument(0)
    everything = call.flag("all")
    if key and everything:
        raise ToolError(f'cannot use argument --all together with key "{key}"', 2)
    values = context.model.config(context.application)
    if everything:
        values = {**dict.fromkeys(context.model.charm_of(context.application).config), **values}
    return call.render(values.get(key) if key else values)


def juju_log(call: Call) -> str:
    """Write to the model's debug log."""
    context = call.context
    if not call.arguments:
        raise ToolError("no message specified", 2)
    module = f"unit.{context.unit}.juju-log"
    given = "DEBUG" if call.flag("debug") else call.options.get("log-level") or "INFO"
    level = _LEVELS.get(given.upper())
    if level is None:
        context.model.log.add(context.unit, "WARNING", module, f'Specified log level of "{given}" is not valid')
        level = "INFO"
    message = " ".join(call.arguments)
    event = context.event
    if event and event.relation_id is not None:
        message = f"{event.endpoint}:{event.relation_id}: {message}"
    context.model.log.add(context.unit, level, module, message)
    return ""


def application_version_set(call: Call) -> str:
    """Note the version of the workload, at once."""
    context = call.context
    version = call.required(0, "no version specified")
    with context.model.store.write(wake=False):
        context.model.store.execute(
            "UPDATE application SET workload_version = ? WHERE name = ?", version, context.application
        )
    return ""


def credential_get(call: Call) -> str:
    """Describe the cloud to an application that is trusted: one of machines that were there already, as it were."""
    context = call.context
    if not context.model.application(context.application)["trust"]:
        raise ToolError("cannot access cloud credentials: permission denied")
    return call.render({"type": "manual", "name": "tabletop", "credential": {"auth-type": "empty", "redacted": None}})


def juju_reboot(call: Call) -> str:
    """Ask for the machine to be restarted: after the hook, or now."""
    context = call.context
    if context.task is not None and context.task.kind == "action":
        raise ToolError("juju-reboot is not supported when running an action.")
    context.reboot = "now" if call.flag("now") else "later"
    if context.reboot == "now":
        context.cancel()
    return ""
