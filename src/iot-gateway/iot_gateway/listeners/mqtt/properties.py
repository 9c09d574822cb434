"""The properties of MQTT 5 (section 2.2.2), kept as they came, so that they can be passed on."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.wire import ProtocolError, Reader, variable

MESSAGE_EXPIRY: Final = 0x02
SESSION_EXPIRY: Final = 0x11
ASSIGNED_CLIENT_ID: Final = 0x12
SERVER_KEEPALIVE: Final = 0x13
AUTHENTICATION_METHOD: Final = 0x15
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS_MAXIMUM: Final = 0x22
TOPIC_ALIAS: Final = 0x23
USER_PROPERTY: Final = 0x26
MAXIMUM_PACKET_SIZE: Final = 0x27
SUBSCRIPTION_ID: Final = 0x0B

_ONE: Final = (0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A)
_TWO: Final = (SERVER_KEEPALIVE, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS)
_FOUR: Final = (MESSAGE_EXPIRY, SESSION_EXPIRY, 0x18, MAXIMUM_PACKET_SIZE)
_BINARY: Final = (0x09, 0x16)
_STRING: Final = (0x03, 0x08, ASSIGNED_CLIENT_ID, AUTHENTICATION_METHOD, 0x1A, 0x1C, 0x1F)
_SKIP: Final[dict[int, Callable[[Reader], Any]]] = {
    **dict.fromkeys(_ONE, Reader.byte),
    **dict.fromkeys(_TWO, Reader.two),
    **dict.fromkeys(_FOUR, lambda reader: reader.take(4)),
    **dict.fromkeys(_BINARY, Reader.binary),
    **dict.fromkeys(_STRING, Reader.string),
    SUBSCRIPTION_ID: Reader.variable,
    USER_PROPERTY: lambda reader: (reader.string(), reader.string()),
}
"""How each property's value is read (table 2-4)."""
_MANY: Final = (USER_PROPERTY, SUBSCRIPTION_ID)

Properties = list[tuple[int, bytes]]
"""Each property's identifier and the bytes of its value."""


def read(reader: Reader) -> Properties:
    """Read a packet's properties, their length included.

    Raises:
        ProtocolError: they are malformed, or one that may come once comes again.
    """
    length = reader.variable()
    if length > reader.left:
        raise ProtocolError("properties that are longer than their packet")
    inside = Reader(reader.data, reader.position, reader.position + length)
    reader.position += length
    found: Properties = []
    seen: set[int] = set()
    while inside.left:
        identifier = inside.variable()
        if identifier not in _SKIP:
            raise ProtocolError(f"an unknown property {identifier}")
        if identifier in seen and identifier not in _MANY:
            raise ProtocolError(f"property {identifier} twice", Reason.PROTOCOL_ERROR)
        seen.add(identifier)
        begin = inside.position
        _SKIP[identifier](inside)
        found.append((identifier, inside.data[begin : inside.position]))
    return found


def write(properties: Iterable[tuple[int, bytes]]) -> bytes:
    """Encode properties, their length included."""
    body = b"".join(variable(identifier) + value for identifier, value in properties)
    return variable(len(body)) + body


def number(properties: Properties, identifier: int) -> int | None:
    """Return the value of a property that is an integer; None where it is not there."""
    for found, value in properties:
        if found == identifier:
            return int.from_bytes(value, "big")
    return None
