"""PUBLISH (section 3.3), and the acknowledgements of it (sections 3.4 to 3.7)."""

import struct
from typing import NamedTuple

from iot_gateway.listeners.mqtt import properties
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.wire import ProtocolError, Reader, binary, packet, text

RETAIN, QUALITY = 0x01, 0x06
EXACTLY_ONCE = 0x04
"""The bit of QoS 2 in a PUBLISH's first byte."""

PUBACK, PUBREC, PUBCOMP = b"\x40\x02", b"\x50\x02", b"\x70\x02"
"""What precedes the packet identifier in an acknowledgement that says nothing more; the same in both versions."""


class Publish(NamedTuple):
    """A PUBLISH packet."""

    topic: bytes
    """Empty where an alias stands for it."""
    payload: bytes
    identifier: bytes
    """The packet identifier's two bytes; empty at QoS 0."""
    alias: int


def read(first: int, data: bytes, start: int, end: int, v5: bool) -> Publish:
    """Read a PUBLISH.

    Raises:
        ProtocolError: it is malformed.
    """
    if end - start < 2:
        raise ProtocolError("a PUBLISH without a topic")
    topic_end = start + 2 + (data[start] << 8 | data[start + 1])
    payload_start = topic_end + 2 if first & QUALITY else topic_end
    if payload_start > end:
        raise ProtocolError("a PUBLISH that is too short")
    if first & QUALITY == QUALITY:
        raise ProtocolError("a PUBLISH with QoS 3")
    identifier = data[topic_end:payload_start]
    if identifier == b"\0\0":
        raise ProtocolError("a PUBLISH with the packet identifier 0", Reason.PROTOCOL_ERROR)
    alias = 0
    if v5:
        # Most have none, and a reader costs more than the rest of the packet.
        if payload_start < end and not data[payload_start]:
            payload_start += 1
        else:
            payload_start, alias = _properties(data, payload_start, end)
    return Publish(data[start + 2 : topic_end], data[payload_start:end], identifier, alias)


def _properties(data: bytes, start: int, end: int) -> tuple[int, int]:
    reader = Reader(data, start, end)
    found = properties.read(reader)
    alias = properties.number(found, properties.TOPIC_ALIAS)
    if alias == 0:
        raise ProtocolError("topic alias 0", Reason.TOPIC_ALIAS)
    return reader.position, alias or 0


def topic_name(topic: bytes) -> str:
    """Return a topic as text.

    Raises:
        ProtocolError: it can't be the name of a topic (section 4.7).
    """
    name = text(topic)
    if not name or "+" in name or "#" in name:
        raise ProtocolError("a topic name that is empty or has wildcards", Reason.TOPIC_NAME)
    return name


def retained(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH of MQTT 5 at QoS 0 that the broker keeps as the topic's last value."""
    return packet(0x31, binary(topic.encode()) + b"\0" + payload)


def lasting(topic: str, payload: bytes, identifier: int, seconds: float) -> bytes:
    """Return a PUBLISH of MQTT 5 at QoS 1 that the broker forgets after so many seconds."""
    expiry = properties.write([(properties.MESSAGE_EXPIRY, struct.pack(">I", min(int(seconds), 0xFFFFFFFF)))])
    return packet(0x32, binary(topic.encode()) + struct.pack(">H", identifier) + expiry + payload)


def negative(acknowledgement: bytes, identifier: bytes, reason: Reason) -> bytes:
    """Return an acknowledgement of MQTT 5 with a reason."""
    return bytes((acknowledgement[0], 3)) + identifier + bytes((reason,))
