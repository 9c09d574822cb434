"""The action that runs."""

from ops import hookcmds

from checks.registry import Setting, check, equal, expect, refused


@check("action_get")
def action_get(setting: Setting) -> None:
    params = hookcmds.action_get()
    expect(isinstance(params["name"], str), str(params))
    equal(hookcmds.action_get("name"), params["name"])
    equal(hookcmds.action_get("attic"), None)
    equal(hookcmds.action_get("name.deeper"), None)


@check("action_set", "action_log")
def action_set(setting: Setting) -> None:
    hookcmds.action_log("-a line with a dash")
    setting.event.log("a line by ops")
    hookcmds.action_set({"nested": {"one": "1", "two": {"three": "3"}}, "flat": "x=y"})
    refused('cannot set reserved action key "stdout"', hookcmds.action_set, {"stdout": "mine"})
    refused('cannot set reserved action key "stderr"', hookcmds.action_set, {"a": {"stderr": "mine"}})
    refused('key "Big" must start and end with lowercase alphanumeric', hookcmds.action_set, {"Big": "x"})
    refused('key "under_score" must start and end', hookcmds.action_set, {"under_score": "x"})


@check("juju_reboot")
def no_reboot_in_an_action(setting: Setting) -> None:
    refused("juju-reboot is not supported when running an action.", hookcmds.juju_reboot)
    refused("juju-reboot is not supported when running an action.", hookcmds.juju_reboot, now=True)
