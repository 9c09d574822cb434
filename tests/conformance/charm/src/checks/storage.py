"""Storage and resources."""

import ops
from ops import hookcmds

from checks.registry import Setting, check, equal, expect, refused


@check("storage_list", "storage_get")
def storage_there_is(setting: Setting) -> None:
    ids = hookcmds.storage_list()
    expect(bool(ids), "no storage")
    equal(hookcmds.storage_list("data"), ids)
    equal(hookcmds.storage_list("attic"), [])
    found = hookcmds.storage_get(ids[0])
    equal(found.kind, "filesystem")
    (found.location / "mark").write_text(setting.place.unit)
    equal(setting.model.storages["data"][0].location, found.location)
    refused(
        f'invalid value "data/999" for option -s: storage attachment data/999:{setting.place.unit} not found',
        hookcmds.storage_get,
        "data/999",
    )
    refused('invalid storage ID "data"', hookcmds.storage_get, "data")
    refused("no storage instance specified", hookcmds.storage_get)


@check("storage_add")
def storage_add(setting: Setting) -> None:
    if len(hookcmds.storage_list("data")) == 1:
        hookcmds.storage_add({"data": 1})
    refused("storage add requires a storage directive", hookcmds.storage_add, {})
    refused('count must be greater than zero, got "0"', hookcmds.storage_add, {"data": 0})


@check("resource_get")
def resource_get(setting: Setting) -> None:
    path = hookcmds.resource_get("seed")
    expect(path.is_absolute() and path.name == "seed.txt", str(path))
    equal(path.read_text(), "corn\n")
    equal(setting.model.resources.fetch("seed"), path)
    missing = f"resource#{setting.place.app}/never not found"
    expect("could not download resource: " in refused(missing, hookcmds.resource_get, "never").stderr)
    try:
        setting.model.resources.fetch("never")
    except ops.ModelError as error:
        expect(missing in str(error), str(error))
    else:
        raise AssertionError("ops fetched what isn't there")
