"""CONNECT and CONNACK (MQTT 5.0 and 3.1.1, sections 3.1 and 3.2): read, rewritten for the site's broker, answered."""

import struct
from typing import NamedTuple

from iot_gateway.listeners.mqtt import codes, properties
from iot_gateway.listeners.mqtt.codes import Reason
from iot_gateway.listeners.mqtt.wire import ProtocolError, Reader, packet, string

_USERNAME, _PASSWORD, _WILL_RETAIN, _WILL_QUALITY, _WILL, _CLEAN, _RESERVED = 0x80, 0x40, 0x20, 0x18, 0x04, 0x02, 0x01


class Connect(NamedTuple):
    """A CONNECT packet; what the broker alone has to understand is kept as it came."""

    level: int
    flags: int
    keepalive: int
    """Seconds; 0 for none."""
    properties: bytes
    """With their length; empty in MQTT 3.1.1."""
    client_id: str
    will: bytes
    """The will's properties, topic and payload."""
    username: str | None
    password: bytes | None

    @property
    def clean(self) -> bool:
        """Whether the client begins a new session."""
        return bool(self.flags & _CLEAN)

    def leaves_nothing(self, session_present: bool) -> bool:
        """Tell whether the broker has nothing to keep for the client: no will, and no session once it is gone.

        In MQTT 3.1.1 a session that is not clean outlives the connection; in MQTT 5 one with an expiry does.
        """
        if self.flags & _WILL or session_present:
            return False
        if self.level == codes.V311:
            return self.clean
        return not properties.number(
            properties.read(Reader(self.properties, 0, len(self.properties))), properties.SESSION_EXPIRY
        )

    def for_broker(self, client_id: str, username: str) -> bytes:
        """Return the packet for the site's broker: no password, no keep-alive, another client identifier.

        Who the client is was proven to the listener, and what keeps its connection alive the broker never sees.
        """
        body = b"\x00\x04MQTT" + bytes((self.level, self.flags & ~_PASSWORD | _USERNAME)) + b"\x00\x00"
        return packet(codes.CONNECT << 4, body + self.properties + string(client_id) + self.will + string(username))


def read(reader: Reader) -> Connect:
    """Read a CONNECT's content.

    Raises:
        ProtocolError: it is malformed, or of another version; the reason then is ``UNSUPPORTED_VERSION``.
    """
    name = reader.string()
    level = reader.byte()
    if name != "MQTT" or level not in (codes.V311, codes.V5):
        raise ProtocolError(f"it speaks {name[:20]!r} of level {level}", Reason.UNSUPPORTED_VERSION)
    flags = reader.byte()
    if flags & _RESERVED or flags & _WILL_QUALITY == _WILL_QUALITY:
        raise ProtocolError("malformed flags of a CONNECT")
    if not flags & _WILL and flags & (_WILL_RETAIN | _WILL_QUALITY):
        raise ProtocolError("a CONNECT that describes a will and has none")
    if level == codes.V311 and flags & _PASSWORD and not flags & _USERNAME:
        raise ProtocolError("a CONNECT with a password and no user name")
    keepalive = reader.two()
    own = b""
    if level == codes.V5:
        begin = reader.position
        if properties.number(properties.read(reader), properties.AUTHENTICATION_METHOD) is not None:
            raise ProtocolError("it asks for an authentication method", Reason.BAD_METHOD)
        own = reader.data[begin : reader.position]
    client_id = reader.string()
    begin = reader.position
    if flags & _WILL:
        if level == codes.V5:
            properties.read(reader)
        reader.string()
        reader.binary()
    will = reader.data[begin : reader.position]
    username = reader.string() if flags & _USERNAME else None
    password = reader.binary() if flags & _PASSWORD else None
    if reader.left:
        raise ProtocolError("a CONNECT that is too long")
    return Connect(level, flags, keepalive, own, client_id, will, username, password)


class Connack(NamedTuple):
    """A CONNACK packet."""

    session_present: bool
    code: int
    properties: properties.Properties

    def encode(self, level: int) -> bytes:
        """Return the packet."""
        body = bytes((self.session_present, self.code))
        if level == codes.V5:
            body += properties.write(self.properties)
        return packet(codes.CONNACK << 4, body)


def read_answer(reader: Reader, level: int) -> Connack:
    """Read a CONNACK's content.

    Raises:
        ProtocolError: it is malformed.
    """
    present, code = reader.byte() & 1, reader.byte()
    return Connack(bool(present), code, properties.read(reader) if level == codes.V5 else [])


def refusal(level: int, reason: Reason) -> bytes:
    """Return the CONNACK that refuses a client."""
    code = int(reason) if level == codes.V5 else codes.return_code(reason)
    return Connack(False, code, []).encode(level)


def for_client(answer: Connack, *, receive_maximum: int, max_packet_bytes: int, assigned: str | None) -> Connack:
    """Return the broker's CONNACK with the listener's own bounds in place of the broker's.

    Args:
        answer: of the broker, to a client of MQTT 5.
        receive_maximum: messages that the client may have unacknowledged.
        max_packet_bytes: that a packet may have.
        assigned: the client identifier, if the listener made it.
    """
    ours: properties.Properties = [
        (properties.RECEIVE_MAXIMUM, struct.pack(">H", receive_maximum)),
        (properties.MAXIMUM_PACKET_SIZE, struct.pack(">I", max_packet_bytes)),
    ]
    if assigned is not None:
        ours.append((properties.ASSIGNED_CLIENT_ID, string(assigned)))
    hidden = {identifier for identifier, _ in ours} | {properties.SERVER_KEEPALIVE, properties.ASSIGNED_CLIENT_ID}
    return answer._replace(properties=[each for each in answer.properties if each[0] not in hidden] + ours)
