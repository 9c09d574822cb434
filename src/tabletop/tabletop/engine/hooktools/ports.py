"""The tools about open ports."""

from tabletop.engine.hooks import Port, ToolError
from tabletop.engine.hooktools.call import Call

_PROTOCOLS = ("tcp", "udp", "icmp")
_HIGHEST = 65535
_DIGITS = 18
"""Of the longest number that Go reads."""


def open_port(call: Call) -> str:
    """Open a port or a range of them, for all endpoints or some."""
    ports = call.context.open_ports()
    for port in _parse(call):
        if port not in ports:
            _refuse_overlap(call, "open", port, ports)
            ports.add(port)
    return ""


def close_port(call: Call) -> str:
    """Close what was opened."""
    ports = call.context.open_ports()
    for port in _parse(call):
        _refuse_overlap(call, "close", port, ports)
        ports.discard(port)
        call.context.closed_ports.add(port)
    return ""


def opened_ports(call: Call) -> str:
    """List the open ports, with those that this hook has opened."""
    ports = sorted(call.context.open_ports(), key=lambda port: (port.protocol, port.start, port.end, port.endpoint))
    found: dict[str, list[str]] = {}
    for port in ports:
        found.setdefault(str(port), []).append(port.endpoint)
    if not call.flag("endpoints"):
        return call.render(list(found))
    return call.render([f"{name} ({_endpoints(names)})" for name, names in found.items()])


def _endpoints(names: list[str]) -> str:
    return "*" if "" in names else ", ".join(names)


def _refuse_overlap(call: Call, verb: str, port: Port, ports: set[Port]) -> None:
    """Refuse a range that overlaps another of the machine's; the same range for another endpoint is none."""
    unit = call.context.unit
    others = [(other, unit) for other in ports] + _of_neighbours(call)
    for other, owner in others:
        same = owner == unit and (other.start, other.end) == (port.start, port.end)
        if same or other.protocol != port.protocol or other.start > port.end or port.start > other.end:
            continue
        raise ToolError(f'cannot {verb} {port} (unit "{unit}"): port range conflicts with {other} (unit "{owner}")')


def _of_neighbours(call: Call) -> list[tuple[Port, str]]:
    rows = call.context.model.store.all(
        "SELECT opened_port.* FROM opened_port JOIN unit ON unit.name = opened_port.unit"
        " WHERE unit.machine = ? AND unit.name != ?",
        call.context.machine,
        call.context.unit,
    )
    return [(Port(row["protocol"], row["from_port"], row["to_port"], row["endpoint"]), row["unit"]) for row in rows]


def _parse(call: Call) -> list[Port]:
    if not call.arguments:
        raise ToolError("no port or range specified", 2)
    text = call.arguments[0].lower()
    span, slash, protocol = text.partition("/")
    start, end = _span(span)
    if span == "icmp":
        protocol = "icmp"
    elif not slash:
        protocol = "tcp"
    port = Port(protocol, start, end)
    _validate(port, icmp=span == "icmp")
    names = call.options.get("endpoints", "")
    return [Port(protocol, start, end, name.strip()) for name in names.split(",")] if names else [port]


def _span(text: str) -> tuple[int, int]:
    if text == "icmp":
        return 0, 0
    parts = text.split("-")
    if len(parts) > 2:
        raise ToolError(f'invalid port range "{text}"', 2)
    numbers = [_number(part) for part in parts]
    return numbers[0], numbers[-1]


def _number(text: str) -> int:
    wrong = "" if text.isascii() and text.isdecimal() else "invalid syntax"
    if not wrong and len(text) > _DIGITS:
        wrong = "value out of range"
    if wrong:
        raise ToolError(f'invalid port "{text}": strconv.Atoi: parsing "{text}": {wrong}', 2)
    return int(text)


def _validate(port: Port, *, icmp: bool) -> None:
    if port.protocol not in _PROTOCOLS:
        raise ToolError(f'invalid protocol "{port.protocol}", expected "tcp", "udp", or "icmp"', 2)
    if port.protocol == "icmp":
        if not icmp:
            raise ToolError(f'protocol "icmp" doesn\'t support any ports; got "{port.start}"', 2)
        return
    if port.start > port.end:
        raise ToolError(f"invalid port range {port.start}-{port.end}/{port.protocol}", 2)
    if port.end > _HIGHEST:
        raise ToolError(f"port range bounds must be between 0 and {_HIGHEST}, got {port.start}-{port.end}", 2)
