"""What a unit keeps in the model."""

from ops import hookcmds

from checks.registry import Setting, check, equal, expect, refused


@check("state_set", "state_get", "state_delete")
def state(setting: Setting) -> None:
    hookcmds.state_set({"one": "1", "odd": "a: <b>\n&c"})
    equal(hookcmds.state_get("one"), "1")
    equal(hookcmds.state_get("odd"), "a: <b>\n&c")
    equal(hookcmds.state_get("attic"), "")
    expect({"one": "1", "odd": "a: <b>\n&c"}.items() <= hookcmds.state_get(None).items(), str(hookcmds.state_get(None)))
    hookcmds.state_delete("one")
    hookcmds.state_delete("attic")
    expect("one" not in hookcmds.state_get(None), "still there")
    refused("max allowed key length (256) exceeded", hookcmds.state_set, {"k" * 257: "v"})
    refused("max allowed value length (65536) exceeded", hookcmds.state_set, {"k": "v" * 65537})
