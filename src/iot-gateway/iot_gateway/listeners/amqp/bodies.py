"""The payload of a message, which a node may have sent by AMQP 1.0.

RabbitMQ's plugin makes 0-9-1 messages of them: the content of a single data section becomes the body; any other body
stays as it was encoded, and the message's ``type`` says so.
"""

from typing import Final

from iot_telemetry import MalformedPayloadError

ENCODED: Final = "amqp-1.0"
"""The ``type`` of a message whose body is still encoded."""
_VALUES: Final = (b"\x00\x53\x77", b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x77")
"""How an ``amqp-value`` section begins (AMQP 1.0, part 3, section 3.2.8): its descriptor, a small or a long number."""
_LENGTHS: Final = {0xA0: 1, 0xA1: 1, 0xB0: 4, 0xB1: 4}
"""Binary and strings (part 1, sections 1.6.19 and 1.6.20): bytes that their length takes, by their code."""


def payload(kind: str | None, body: bytes) -> bytes:
    """Return what the node sent.

    Args:
        kind: the message's ``type``.
        body: of the message.

    Raises:
        MalformedPayloadError: it is a body of AMQP 1.0 that holds neither bytes nor a text.
    """
    if kind != ENCODED:
        return body
    for begin in _VALUES:
        if body.startswith(begin) and len(body) > len(begin):
            size = _LENGTHS.get(body[len(begin)])
            if size is not None:
                start = len(begin) + 1 + size
                end = start + int.from_bytes(body[start - size : start])
                if end == len(body):
                    return body[start:end]
    raise MalformedPayloadError("AMQP 1.0: the body must be one data section, or a value that is binary or a string")
