"""The tools that a charm calls from inside a hook: one function each, named as the tool is.

A function takes a `Call` and returns what the tool prints; it refuses by raising `ToolError`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tabletop.engine.faults import StateError
from tabletop.engine.hooks import HookContext, ToolError
from tabletop.engine.hooktools import (
    action,
    goals,
    leader,
    legacy,
    network,
    ports,
    relation,
    resource,
    secret,
    secretread,
    state,
    status,
    storage,
    unit,
)
from tabletop.engine.hooktools.call import RELATION, Call, Tool
from tabletop.engine.hooktools.options import SMART, YAML, Options
from tabletop.engine.model import NotFoundError

logger = logging.getLogger(__name__)

_APP = {"app": "app"}
_FILE = {"file": "file"}
_ENDPOINTS = {"endpoints": "endpoints"}
_APPLICATION = {"application": "application"}
_LABEL = {"label": "label"}
_ANY = None


def _same(*names: str) -> Mapping[str, str]:
    return {name: name for name in names}


_ADDRESSES = _same("bind-address", "ingress-address", "egress-subnets", "primary-address")
_LEVEL = {"l": "log-level", "log-level": "log-level"}
_SECRET = _same("label", "description", "expire", "rotate", "owner", "file")
_REVOKE = {**RELATION, **_same("unit", "app"), "application": "app"}

_TOOLS: Mapping[str, Tool] = {
    "action-fail": Tool(action.action_fail, Options(most=1)),
    "action-get": Tool(action.action_get, Options(formats=SMART, most=1)),
    "action-log": Tool(action.action_log, Options(most=_ANY)),
    "action-set": Tool(action.action_set, Options(most=_ANY)),
    "add-metric": Tool(legacy.add_metric, Options({"l": "labels", "labels": "labels"}, most=_ANY)),
    "application-version-set": Tool(unit.application_version_set, Options(most=1)),
    "close-port": Tool(ports.close_port, Options(_ENDPOINTS, silent_format=True, most=1)),
    "config-get": Tool(unit.config_get, Options({}, {"a": "all", "all": "all"}, formats=SMART, most=1)),
    "credential-get": Tool(unit.credential_get, Options(formats=SMART)),
    "goal-state": Tool(goals.goal_state, Options(formats=YAML)),
    "is-leader": Tool(leader.is_leader, Options(formats=SMART)),
    "juju-log": Tool(unit.juju_log, Options(_LEVEL, _same("debug"), silent_format=True, most=_ANY)),
    "juju-reboot": Tool(unit.juju_reboot, Options({}, _same("now"))),
    "leader-get": Tool(leader.leader_get, Options(formats=SMART, most=1)),
    "leader-set": Tool(leader.leader_set, Options(most=_ANY)),
    "network-get": Tool(network.network_get, Options(RELATION, _ADDRESSES, formats=SMART, most=1)),
    "open-port": Tool(ports.open_port, Options(_ENDPOINTS, silent_format=True, most=1)),
    "opened-ports": Tool(ports.opened_ports, Options({}, _ENDPOINTS, formats=SMART)),
    "payload-register": Tool(legacy.payload_register, Options(most=_ANY)),
    "payload-status-set": Tool(legacy.payload_status_set, Options(most=3)),
    "payload-unregister": Tool(legacy.payload_unregister, Options(most=2)),
    "relation-get": Tool(relation.relation_get, Options(RELATION, _APP, formats=SMART, most=2)),
    "relation-ids": Tool(relation.relation_ids, Options(formats=SMART, most=1)),
    "relation-list": Tool(relation.relation_list, Options(RELATION, _APP, formats=SMART)),
    "relation-model-get": Tool(relation.relation_model_get, Options(RELATION, formats=SMART)),
    "relation-set": Tool(relation.relation_set, Options({**RELATION, **_FILE}, _APP, silent_format=True, most=_ANY)),
    "resource-get": Tool(resource.resource_get, Options(most=1)),
    "secret-add": Tool(secret.secret_add, Options(_SECRET, most=_ANY)),
    "secret-get": Tool(secretread.secret_get, Options(_LABEL, _same("peek", "refresh"), formats=YAML, most=2)),
    "secret-grant": Tool(secret.secret_grant, Options({**RELATION, "unit": "unit"}, most=_ANY)),
    "secret-ids": Tool(secretread.secret_ids, Options(formats=SMART)),
    "secret-info-get": Tool(secretread.secret_info_get, Options(_LABEL, formats=YAML, most=1)),
    "secret-remove": Tool(secret.secret_remove, Options({"revision": "revision"}, most=1)),
    "secret-revoke": Tool(secret.secret_revoke, Options(_REVOKE, most=_ANY)),
    "secret-set": Tool(secret.secret_set, Options(_SECRET, most=_ANY)),
    "state-delete": Tool(state.state_delete, Options(most=1)),
    "state-get": Tool(state.state_get, Options({}, _same("strict"), formats=SMART, most=1)),
    "state-set": Tool(state.state_set, Options(_FILE, most=_ANY)),
    "status-get": Tool(status.status_get, Options({}, _same("include-data", "application"), formats=SMART)),
    "status-set": Tool(status.status_set, Options({}, _APPLICATION, most=2)),
    "storage-add": Tool(storage.storage_add, Options(most=_ANY)),
    "storage-get": Tool(storage.storage_get, Options({"s": "s"}, formats=SMART, most=1)),
    "storage-list": Tool(storage.storage_list, Options(formats=SMART, most=1)),
    "unit-get": Tool(network.unit_get, Options(formats=SMART, most=1)),
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
        return Answer(1, "", f"ERROR bad request: unknown command: {tool}\n")
    options = found.options
    try:
        parsed = options.parse(arguments)
        form = parsed.values.get("format", options.formats[0]) if options.formats else ""
        with context.lock:
            out = found.run(Call(context, parsed.values, parsed.rest, files, parsed.spelled, form))
    except ToolError as error:
        return Answer(error.code, "", f"ERROR {error}\n")
    except (StateError, NotFoundError) as error:
        # The unit may be gone, by force, while its hook is being ended.
        return Answer(1, "", f"ERROR {error}\n")
    except Exception:
        # The outermost loop of a tool's call: the charm must get an answer, and the reason must not get lost.
        logger.exception("%s failed in %s", tool, context.unit)
        return Answer(1, "", f"ERROR {tool}: tabletop failed; its log says why\n")
    silent = options.silent_format and parsed.values.get("format")
    return Answer(0, out, f'--format flag deprecated for command "{tool}"' if silent else "")
