"""The tools about addresses."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from tabletop.engine.hooks import ToolError
from tabletop.engine.hooktools.call import Call

_INTERFACE = "host0"
_KEYS = ("bind-address", "ingress-address", "egress-subnets")


def network_get(call: Call) -> str:
    """Return the addresses that a binding uses: a machine has one network, whatever the binding or the relation."""
    name = call.required(0, "no arguments specified")
    if not name:
        raise ToolError("no binding name specified", 2)
    call.relation_if_any()
    charm = call.context.model.charm_of(call.context.application)
    if name not in charm.endpoints and name not in charm.extra_bindings:
        raise ToolError(f'no network config found for binding "{name}"')
    address = _address(call)
    single: Mapping[str, Any] = {
        "bind-address": address,
        "ingress-address": address,
        "egress-subnets": [f"{address}/32"],
    }
    wanted = [key for key in _KEYS if call.flag(key)]
    if call.flag("primary-address"):
        if wanted:
            raise ToolError("--primary-address must be the only flag specified")
        return call.render(address)
    if not wanted:
        return call.render(_everything(call, address))
    return call.render(single[wanted[0]] if len(wanted) == 1 else {key: single[key] for key in wanted})


def unit_get(call: Call) -> str:
    """Return the unit's address: what is private is public as well."""
    key = call.required(0, "no setting specified")
    if key not in ("private-address", "public-address"):
        raise ToolError(f'unknown setting "{key}"', 2)
    return call.render(_address(call))


def _address(call: Call) -> str:
    found: str = call.context.model.store.value("SELECT address FROM machine WHERE number = ?", call.context.machine)
    return found


def _everything(call: Call, address: str) -> Mapping[str, Any]:
    bind = {"hostname": "", "value": address, "cidr": str(ipaddress.ip_network(f"{address}/24", strict=False))}
    interface: dict[str, Any] = {"mac-address": "", "interface-name": _INTERFACE}
    if call.form != "json":
        # For charms of old: Juju writes these in YAML only.
        bind["address"] = address
        interface |= {"macaddress": "", "interfacename": _INTERFACE}
    return {
        "bind-addresses": [{**interface, "addresses": [bind]}],
        "egress-subnets": [f"{address}/32"],
        "ingress-addresses": [address],
    }
