"""Properties of messages that come from anyone: none of them costs the connection over which it comes.

AMQP 0-9-1 lets texts be any bytes, and headers hold what pika can't read: a float that is no number, a time beyond the
year 9999, tables within tables. pika's error then ends the connection, RabbitMQ gives the message again over the next
one, and nothing comes past it any more.
"""

import struct
from typing import Any, Final

from pika import spec
from pika.exceptions import AMQPError

_FAULTS: Final = (AMQPError, ArithmeticError, OSError, RecursionError, ValueError, struct.error)
"""What pika raises over headers, by what is in them."""


class ReceivedProperties(spec.BasicProperties):
    """Properties as they came; of texts see :func:`text`."""

    fault: str = ""
    """Why the headers, and what comes behind them, can't be read; empty if they can."""

    def decode(self, encoded: bytes, offset: int = 0) -> Any:
        """Read the properties from a content header (AMQP 0-9-1, section 4.2.6.1)."""
        try:
            super().decode(encoded, offset)
        except _FAULTS as error:
            self.fault = f"headers that can't be read: {error}"
        return self


def text(short: str | bytes | None) -> str:
    """Return a short string, of which pika makes bytes if it is no UTF-8; empty for none."""
    return short.decode(errors="backslashreplace") if isinstance(short, bytes) else short or ""


def install() -> None:
    """Have pika make :class:`ReceivedProperties` of what it receives, on every connection of the process."""
    spec.props[spec.BasicProperties.INDEX] = ReceivedProperties
