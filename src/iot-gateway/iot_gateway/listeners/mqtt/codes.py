"""Packet types and reason codes of MQTT (OASIS MQTT 5.0, sections 2.1.2 and 2.4; 3.1.1, sections 2.2.1 and 3.2.2.3)."""

from enum import IntEnum
from typing import Final

CONNECT: Final = 1
CONNACK: Final = 2
PUBLISH: Final = 3
PUBACK: Final = 4
PUBREC: Final = 5
PUBREL: Final = 6
PUBCOMP: Final = 7
SUBSCRIBE: Final = 8
SUBACK: Final = 9
UNSUBSCRIBE: Final = 10
PINGREQ: Final = 12
PINGRESP: Final = 13
DISCONNECT: Final = 14

V311: Final = 4
V5: Final = 5


class Reason(IntEnum):
    """Reason codes of MQTT 5 that the listener gives."""

    NORMAL = 0x00
    NO_SUBSCRIBERS = 0x10
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    CLIENT_ID = 0x85
    BAD_CREDENTIAL = 0x86
    NOT_AUTHORISED = 0x87
    UNAVAILABLE = 0x88
    SHUTTING_DOWN = 0x8B
    BAD_METHOD = 0x8C
    KEEPALIVE = 0x8D
    TAKEN_OVER = 0x8E
    TOPIC_NAME = 0x90
    RECEIVE_MAXIMUM = 0x93
    TOPIC_ALIAS = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA = 0x97
    ADMINISTRATIVE = 0x98
    PAYLOAD = 0x99
    RATE = 0x9F


_RETURN_CODES: Final = {
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.CLIENT_ID: 2,
    Reason.BAD_CREDENTIAL: 4,
    Reason.NOT_AUTHORISED: 5,
    Reason.BAD_METHOD: 5,
}
_SERVER_UNAVAILABLE: Final = 3


def return_code(reason: Reason) -> int:
    """Return what MQTT 3.1.1 says in a CONNACK in place of ``reason``."""
    return _RETURN_CODES.get(reason, _SERVER_UNAVAILABLE)
