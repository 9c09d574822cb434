"""The payload of a message, which a node may have sent by AMQP 1.0.

RabbitMQ's plugin makes 0-9-1 messages of them: the content of a single data section becomes the body; any other body
stays as it was encoded, and the message's ``type`` says so.
"""

import re
from typing import Final

from iot_telemetry import MalformedPayloadError

ENCODED: Final = "amqp-1.0"
"""The ``type`` of a message whose body is still encoded."""
_VALUE: Final = re.compile(
    rb"(?:\x00\x53\x77|\x00\x80\x00{7}\x77)(?:[\xa0\xa1](?P<short>.)|[\xb0\xb1](?P<long>.{4}))(?P<content>.*)",
    re.DOTALL,
)
"""An ``amqp-value`` section (AMQP 1.0, part 3, section 3.2.8), its descriptor a small or a long number, of binary or a
string (part 1, sections 1.6.19 and 1.6.20), with a length of one byte or of four."""


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
    value = _VALUE.fullmatch(body)
    if value and len(value["content"]) == int.from_bytes(value["short"] or value["long"]):
        return value["content"]
    raise MalformedPayloadError("AMQP 1.0: the body must be one data section, or a value that is binary or a string")
