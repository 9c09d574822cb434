"""Each function from where no hook runs: there all of them are refused, and ops has to notice."""

from collections.abc import Callable, Mapping

from ops import hookcmds

from checks.registry import FUNCTIONS, Setting, check, equal, outside, refused

CALLS: Mapping[str, Callable[[], object]] = {
    "action_fail": lambda: hookcmds.action_fail(),
    "action_get": lambda: hookcmds.action_get(),
    "action_log": lambda: hookcmds.action_log("a line"),
    "action_set": lambda: hookcmds.action_set({"a": "b"}),
    "app_version_set": lambda: hookcmds.app_version_set("1"),
    "close_port": lambda: hookcmds.close_port("tcp", 80),
    "config_get": lambda: hookcmds.config_get(),
    "credential_get": lambda: hookcmds.credential_get(),
    "goal_state": lambda: hookcmds.goal_state(),
    "is_leader": lambda: hookcmds.is_leader(),
    "juju_log": lambda: hookcmds.juju_log("a line"),
    "juju_reboot": lambda: hookcmds.juju_reboot(),
    "network_get": lambda: hookcmds.network_get("ring"),
    "open_port": lambda: hookcmds.open_port("tcp", 80),
    "opened_ports": lambda: hookcmds.opened_ports(),
    "relation_get": lambda: hookcmds.relation_get(),
    "relation_ids": lambda: hookcmds.relation_ids("ring"),
    "relation_list": lambda: hookcmds.relation_list(),
    "relation_model_get": lambda: hookcmds.relation_model_get(),
    "relation_set": lambda: hookcmds.relation_set({"a": "b"}),
    "resource_get": lambda: hookcmds.resource_get("seed"),
    "secret_add": lambda: hookcmds.secret_add({"word": "x"}),
    "secret_get": lambda: hookcmds.secret_get(label="x"),
    "secret_grant": lambda: hookcmds.secret_grant("x", 1),
    "secret_ids": lambda: hookcmds.secret_ids(),
    "secret_info_get": lambda: hookcmds.secret_info_get(label="x"),
    "secret_remove": lambda: hookcmds.secret_remove("x"),
    "secret_revoke": lambda: hookcmds.secret_revoke("x", relation_id=1),
    "secret_set": lambda: hookcmds.secret_set("x"),
    "state_delete": lambda: hookcmds.state_delete("x"),
    "state_get": lambda: hookcmds.state_get(None),
    "state_set": lambda: hookcmds.state_set({"a": "b"}),
    "status_get": lambda: hookcmds.status_get(),
    "status_set": lambda: hookcmds.status_set("active"),
    "storage_add": lambda: hookcmds.storage_add({"data": 1}),
    "storage_get": lambda: hookcmds.storage_get(),
    "storage_list": lambda: hookcmds.storage_list(),
}


@check(*CALLS)
def nothing_works_outside_a_hook(setting: Setting) -> None:
    equal(sorted(CALLS), sorted(FUNCTIONS))
    for name in FUNCTIONS:
        with outside():
            refused("JUJU_CONTEXT_ID not set", CALLS[name])
