"""Configuration, network, cloud."""

import ipaddress
import os

import ops
from ops import hookcmds

from checks.registry import Setting, check, equal, expect, refused


@check("config_get")
def config_get(setting: Setting) -> None:
    found = hookcmds.config_get()
    equal(
        {key: found[key] for key in ("text", "number", "ratio", "switch")},
        {"text": "a text", "number": 7, "ratio": 0.5, "switch": True},
    )
    expect("unset" not in found, "an option without a value is there")
    equal(hookcmds.config_get("number"), 7)
    equal(hookcmds.config_get("switch"), True)
    equal(hookcmds.config_get("unset"), None)
    equal(hookcmds.config_get("attic"), None)
    equal(dict(setting.model.config), found)


@check("network_get")
def network_get(setting: Setting) -> None:
    place = setting.place
    for binding in (place.endpoint, "ring", "aside", "juju-info"):
        found = hookcmds.network_get(binding)
        address = found.bind_addresses[0].addresses[0]
        ipaddress.ip_address(address.value)
        expect(ipaddress.ip_address(address.value) in ipaddress.ip_network(address.cidr), str(address))
        equal(found.ingress_addresses, [address.value])
        equal(found.egress_subnets, [f"{address.value}/32"])
        expect(bool(found.bind_addresses[0].interface_name), "an interface without a name")
    equal(hookcmds.network_get(place.endpoint, relation_id=place.relation), hookcmds.network_get(place.endpoint))
    binding = setting.model.get_binding(setting.model.relations[place.endpoint][0])
    expect(binding is not None and str(binding.network.ingress_address) == address.value, "ops sees another address")
    data = hookcmds.relation_get(place.relation, unit=place.unit)
    equal((data["ingress-address"], data["private-address"]), (address.value, address.value))
    refused('no network config found for binding "attic"', hookcmds.network_get, "attic")
    refused(
        'invalid value "999" for option -r: relation not found', hookcmds.network_get, place.endpoint, relation_id=999
    )


@check("credential_get")
def credential_get(setting: Setting) -> None:
    if os.environ.get("CONFORMANCE_TRUSTED") or setting.place.role == "other":
        found = hookcmds.credential_get()
        expect(bool(found.type and found.name), str(found))
        equal(setting.model.get_cloud_spec().name, found.name)
        return
    error = refused("permission denied", hookcmds.credential_get)
    equal(error.stderr, "ERROR cannot access cloud credentials: permission denied\n")
    try:
        setting.model.get_cloud_spec()
    except ops.ModelError as caught:
        expect("permission denied" in str(caught), str(caught))
    else:
        raise AssertionError("ops got the cloud's description")
