"""Dead letters: payloads that could not be read, kept whole with the reason."""

import base64
from typing import NamedTuple

import orjson


class DeadLetter(NamedTuple):
    """A payload and why it is no reading."""

    reason: str
    topic: str
    received: float
    payload: bytes

    def to_line(self) -> bytes:
        """Return the dead letter as one line of JSON, for the outbox; the payload may be any bytes."""
        return orjson.dumps(
            {
                "reason": self.reason,
                "topic": self.topic,
                "received": self.received,
                "payload": base64.b64encode(self.payload).decode("ascii"),
            }
        )

    @classmethod
    def from_line(cls, line: bytes) -> "DeadLetter":
        """Read what :meth:`to_line` wrote."""
        fields = orjson.loads(line)
        return cls(fields["reason"], fields["topic"], fields["received"], base64.b64decode(fields["payload"]))
