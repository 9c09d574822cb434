"""Open ports."""

import subprocess

import ops
from ops import hookcmds
from ops.hookcmds import Port

from checks.registry import Setting, check, equal, refused


@check("open_port", "close_port", "opened_ports")
def ports(setting: Setting) -> None:
    _close_all()
    hookcmds.open_port(None, 8000)
    hookcmds.open_port("udp", 9000, to_port=9010)
    hookcmds.open_port("icmp")
    hookcmds.open_port("tcp", 8000)
    equal(hookcmds.opened_ports(), [Port("icmp", None), Port("tcp", 8000), Port("udp", 9000, 9010)])
    hookcmds.close_port("tcp", 8000)
    hookcmds.open_port("tcp", 8000, endpoints=["ring", "in"])
    # Of several endpoints ops reads but the last: Juju puts a blank after the comma.
    equal(_said("--endpoints"), "icmp (*)\n8000/tcp (in, ring)\n9000-9010/udp (*)\n")
    hookcmds.close_port("tcp", 8000, endpoints="ring")
    equal(hookcmds.opened_ports(endpoints=True)[0], Port("icmp", None, None, ["*"]))
    equal(hookcmds.opened_ports(endpoints=True)[1], Port("tcp", 8000, None, ["in"]))
    hookcmds.close_port("tcp", 8000, endpoints="in")
    _close_all()
    equal(hookcmds.opened_ports(), [])


@check("open_port", "close_port")
def ports_that_can_not_be(setting: Setting) -> None:
    unit = setting.place.unit
    _close_all()
    hookcmds.open_port("tcp", 8000, to_port=8010)
    conflict = f'8005/tcp (unit "{unit}"): port range conflicts with 8000-8010/tcp (unit "{unit}")'
    refused(f"cannot open {conflict}", hookcmds.open_port, "tcp", 8005)
    refused(f"cannot close {conflict}", hookcmds.close_port, "tcp", 8005)
    for function in (hookcmds.open_port, hookcmds.close_port):
        refused("port range bounds must be between 0 and 65535, got 70000-70000", function, "tcp", 70000)
        refused("invalid port range 20-10/tcp", function, "tcp", 20, to_port=10)
        refused('invalid protocol "sctp", expected "tcp", "udp", or "icmp"', function, "sctp", 80)
        refused('protocol "icmp" doesn\'t support any ports; got "80"', function, "icmp", 80)
        refused('invalid port "tcp": strconv.Atoi: parsing "tcp": invalid syntax', function, "tcp")
    _close_all()


@check("open_port", "close_port", "opened_ports")
def ports_as_ops_has_them(setting: Setting) -> None:
    unit = setting.charm.unit
    unit.set_ports(8080, ops.Port("udp", 53), ops.Port("icmp", None))
    equal(unit.opened_ports(), {ops.Port("tcp", 8080), ops.Port("udp", 53), ops.Port("icmp", None)})
    unit.set_ports()
    equal(unit.opened_ports(), set())


def _said(*options: str) -> str:
    return subprocess.run(["opened-ports", *options], check=True, capture_output=True, text=True).stdout


def _close_all() -> None:
    for port in hookcmds.opened_ports():
        hookcmds.close_port(port.protocol, port.port, to_port=port.to_port)
