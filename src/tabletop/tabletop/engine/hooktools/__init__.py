"""The tools that a charm calls from inside a hook: one function each, named as the tool is.

A function takes a `Call` and returns what the tool prints; it refuses by raising `ToolError`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tabletop.engine.faults import StateError
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools import action, keeping, ports, relation, secret, unit
from tabletop.engine.hooktools.call import RELATION, Call, Options

logger = logging.getLogger(__name__)

_APP = {"app": "app"}
_FILE = {"file": "file"}
_DESCRIPTION = {
    "label": "label",
    "description": "description",
    "expire": "expire",
    "rotate": "rotate",
    "owner": "owner",
    **_FILE,
}
_GRANT = {**RELATION, "unit": "unit", "app": "app", "application": "app"}

_TOOLS: Mapping[str, tuple[Callable[[Call], str], Options]] = {
    "action-fail": (action.action_fail, Options()),
    "action-get": (action.action_get, Options()),
    "action-log": (action.action_log, Options()),
    "action-set": (action.action_set, Options()),
    "application-version-set": (unit.application_version_set, Options()),
    "close-port": (ports.close_port, Options({"endpoints": "endpoints"})),
    "config-get": (unit.config_get, Options({}, {"a": "all", "all": "all"})),
    "credential-get": (unit.credential_get, Options()),
    "goal-state": (unit.goal_state, Options()),
    "is-leader": (unit.is_leader, Options()),
    "juju-log": (unit.juju_log, Options({"l": "log-level", "log-level": "log-level"}, {"debug": "debug"})),
    "juju-reboot": (unit.juju_reboot, Options({}, {"now": "now"})),
    "network-get": (
        unit.network_get,
        Options(
            RELATION,
            {name: name for name in ("bind-address", "ingress-address", "egress-subnets", "primary-address")},
        ),
    ),
    "open-port": (ports.open_port, Options({"endpoints": "endpoints"})),
    "opened-ports": (ports.opened_ports, Options({}, {"endpoints": "endpoints"})),
    "payload-register": (unit.payload, Options()),
    "payload-status-set": (unit.payload, Options()),
    "payload-unregister": (unit.payload, Options()),
    "relation-get": (relation.relation_get, Options(RELATION, _APP)),
    "relation-ids": (relation.relation_ids, Options()),
    "relation-list": (relation.relation_list, Options(RELATION, _APP)),
    "relation-model-get": (relation.relation_model_get, Options(RELATION)),
    "relation-set": (relation.relation_set, Options({**RELATION, **_FILE}, _APP)),
    "resource-get": (unit.resource_get, Options()),
    "secret-add": (secret.secret_add, Options(_DESCRIPTION)),
    "secret-get": (secret.secret_get, Options({"label": "label"}, {"peek": "peek", "refresh": "refresh"})),
    "secret-grant": (secret.secret_grant, Options(_GRANT)),
    "secret-ids": (secret.secret_ids, Options()),
    "secret-info-get": (secret.secret_info_get, Options({"label": "label"})),
    "secret-remove": (secret.secret_remove, Options({"revision": "revision"})),
    "secret-revoke": (secret.secret_revoke, Options(_GRANT)),
    "secret-set": (secret.secret_set, Options(_DESCRIPTION)),
    "state-delete": (keeping.state_delete, Options()),
    "state-get": (keeping.state_get, Options()),
    "state-set": (keeping.state_set, Options(_FILE)),
    "status-get": (
        unit.status_get,
        Options({}, {"include-data": "include-data", "application": "application"}),
    ),
    "status-set": (unit.status_set, Options({}, {"application": "application"})),
    "storage-add": (keeping.storage_add, Options()),
    "storage-get": (keeping.storage_get, Options({"s": "s"})),
    "storage-list": (keeping.storage_list, Options()),
}

NAMES = tuple(_TOOLS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool prints, and its exit code."""

    code: int
    out: str
    err: str


def call(context: HookContext, tool: str, arguments: Sequence[str], files: Mapping[str, bytes]) -> Answer:
    """Run a tool for a hook."""
    found = _TOOLS.get(tool)
    if found is None:
        return Answer(1, "", f"ERROR there is no hook tool {tool}\n")
    function, options = found
    try:
        values, rest = options.parse(arguments)
        with context.lock:
            return Answer(0, function(Call(context, values, rest, files)), "")
    except ToolError as error:
        return Answer(error.code, "", f"ERROR {error}\n")
    except StateError as error:
        return Answer(1, "", f"ERROR {error}\n")
    except Exception:
        # The outermost loop of a tool's call: the charm must get an answer, and the reason must not get lost.
        logger.exception("%s failed in %s", tool, context.unit)
        return Answer(1, "", f"ERROR {tool}: tabletop failed; its log says why\n")
