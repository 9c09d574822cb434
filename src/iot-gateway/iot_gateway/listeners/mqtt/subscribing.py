"""SUBSCRIBE, SUBACK and UNSUBSCRIBE (MQTT 5.0 and 3.1.1, sections 3.8 to 3.10), as far as they are about commands."""

from iot_gateway.listeners.mqtt import properties
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.wire import Reader


def filters(reader: Reader, v5: bool, *, options: bool) -> tuple[bytes, list[str]]:
    """Read a packet's identifier and topic filters.

    Args:
        reader: of the content.
        v5: whether it has properties.
        options: whether an options byte follows each filter: so it does in a SUBSCRIBE.

    Raises:
        ProtocolError: it is malformed.
    """
    identifier = reader.take(2)
    if v5:
        properties.read(reader)
    found: list[str] = []
    while reader.left:
        found.append(reader.string())
        if options:
            reader.byte()
    return identifier, found


def granted(reader: Reader, v5: bool) -> tuple[bytes, list[bool]]:
    """Read a SUBACK's identifier, and of each filter whether it was granted.

    Raises:
        ProtocolError: it is malformed.
    """
    identifier = reader.take(2)
    if v5:
        properties.read(reader)
    return identifier, [code < Reason.UNSPECIFIED for code in reader.take(reader.left)]


def matches(pattern: str, topic: str) -> bool:
    """Tell whether a topic filter covers a topic (MQTT 5.0, section 4.7); shared subscriptions are looked through."""
    levels = pattern.split("/")
    if levels[0] == "$share":
        levels = levels[2:]
    names = topic.split("/")
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index >= len(names) or level not in ("+", names[index]):
            return False
    return len(levels) == len(names)
