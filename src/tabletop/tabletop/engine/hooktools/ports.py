"""The tools about open ports."""

from tabletop.engine.hooks import Port, ToolError
from tabletop.engine.hooktools.call import Call

_PROTOCOLS = ("tcp", "udp", "icmp")


def open_port(call: Call) -> str:
    """Open a port or a range of them, for all endpoints or some."""
    ports = call.context.open_ports()
    for port in _parse(call):
        if port in ports:
            continue
        for other in ports:
            if _conflict(port, other):
                unit = call.context.unit
                raise ToolError(
                    f'cannot open {port} (unit "{unit}"): port range conflicts with {other} (unit "{unit}")'
                )
        ports.add(port)
    return ""


def close_port(call: Call) -> str:
    """Close what was opened."""
    ports = call.context.open_ports()
    for port in _parse(call):
        for other in list(ports):
            if other != port and _conflict(port, other):
                unit = call.context.unit
                raise ToolError(
                    f'cannot close {port} (unit "{unit}"): port range conflicts with {other} (unit "{unit}")'
                )
        ports.discard(port)
    return ""


def opened_ports(call: Call) -> str:
    """List the open ports."""
    ports = sorted(call.context.open_ports(), key=lambda port: (port.protocol, port.start, port.end, port.endpoint))
    if not call.flag("endpoints"):
        return call.render(list(dict.fromkeys(str(port) for port in ports)))
    found: dict[str, list[str]] = {}
    for port in ports:
        found.setdefault(str(port), []).append(port.endpoint or "*")
    return call.render([f"{name} ({','.join(endpoints)})" for name, endpoints in found.items()])


def _conflict(one: Port, two: Port) -> bool:
    if (one.protocol, one.endpoint) != (two.protocol, two.endpoint) or one.protocol == "icmp":
        return False
    return one.start <= two.end and two.start <= one.end


def _parse(call: Call) -> list[Port]:
    text = call.required(0, "port or protocol").lower()
    span, slash, protocol = text.partition("/")
    if not slash and span in _PROTOCOLS:
        span, protocol = "", span
    protocol = protocol or "tcp"
    if protocol not in _PROTOCOLS:
        raise ToolError(f'invalid protocol "{protocol}", expected "tcp", "udp", or "icmp"', 2)
    start = end = 0
    if protocol == "icmp":
        if span:
            raise ToolError(f'protocol "icmp" doesn\'t support any ports; got "{span}"', 2)
    else:
        first, dash, last = span.partition("-")
        start = _number(first, text)
        end = _number(last, text) if dash else start
        if start > end:
            raise ToolError(f"invalid port range {start}-{end}/{protocol}", 2)
    names = [name for name in call.options.get("endpoints", "").split(",") if name not in ("", "*")]
    known = call.context.model.charm_of(call.context.application).endpoints
    for name in names:
        if name not in known:
            raise ToolError(f'endpoint "{name}" not found', 1)
    return [Port(protocol, start, end, name) for name in names or [""]]


def _number(text: str, whole: str) -> int:
    if not text.isdecimal():
        raise ToolError(f'expected <port>[/<protocol>] or <from>-<to>[/<protocol>] or icmp; got "{whole}"', 2)
    number = int(text)
    if not 1 <= number <= 65535:
        raise ToolError(f"port must be in the range [1, 65535]; got {number}", 2)
    return number
