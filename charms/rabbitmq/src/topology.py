"""What the broker holds for telemetry in each virtual host, and who may do what with it. No I/O.

What may change while the broker runs (limits, where dead letters go) is a policy and not an argument of the queue:
RabbitMQ refuses to declare an existing queue with other arguments.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Access = Literal["publish", "consume", "command", "full"]

EXCHANGE = "iot.telemetry"
QUEUE = "iot.telemetry"
STREAM = "iot.telemetry.stream"
DEAD_LETTER_EXCHANGE = "iot.dead-letters"
DEAD_LETTER_QUEUE = "iot.dead-letters"
COMMANDS_EXCHANGE = "iot.commands"
"""Commands to gateways, by the routing key ``<site>.<gateway>``; each gateway has a queue of its own."""
COMMANDS_QUEUES = rf"^{re.escape(COMMANDS_EXCHANGE)}\."

EXCHANGES = {EXCHANGE: "topic", DEAD_LETTER_EXCHANGE: "fanout", COMMANDS_EXCHANGE: "topic"}
QUEUES = {QUEUE: "quorum", STREAM: "stream", DEAD_LETTER_QUEUE: "quorum"}
BINDINGS = ((EXCHANGE, QUEUE, "#"), (EXCHANGE, STREAM, "#"), (DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, "#"))

_SEGMENT_BYTES = 100_000_000


@dataclass(frozen=True)
class Limits:
    """What the operator sets."""

    delivery_limit: int
    stream_max_bytes: int
    stream_max_age: str

    @property
    def commands_policy(self) -> dict[str, Any]:
        """The definition of the policy for all queues of commands."""
        return {
            "dead-letter-exchange": DEAD_LETTER_EXCHANGE,
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
            "delivery-limit": self.delivery_limit,
        }

    def policies(self) -> dict[str, dict[str, Any]]:
        """Return the policies: name, which is also the name of the one queue it applies to -> definition."""
        return {
            QUEUE: {
                "dead-letter-exchange": DEAD_LETTER_EXCHANGE,
                # A dead letter leaves the queue only after the dead-letter queue has confirmed it; that needs this
                # overflow behaviour, which rejects nothing while the queue has no maximum length.
                "dead-letter-strategy": "at-least-once",
                "overflow": "reject-publish",
                "delivery-limit": self.delivery_limit,
            },
            STREAM: {
                "max-length-bytes": self.stream_max_bytes,
                "max-age": self.stream_max_age,
                # Retention drops whole segments, so a small stream needs small ones.
                "stream-max-segment-size-bytes": min(_SEGMENT_BYTES, self.stream_max_bytes // 4),
            },
        }


@dataclass(frozen=True)
class Permissions:
    """Regular expressions over the names of exchanges and queues, as RabbitMQ has them; ``^$`` permits nothing."""

    configure: str
    write: str
    read: str


FULL = Permissions(".*", ".*", ".*")


def commands_queue(key: str) -> str:
    """Return the name of a gateway's queue of commands; ``key`` is ``<site>.<gateway>``."""
    return f"{COMMANDS_EXCHANGE}.{key}"


def permissions(access: Iterable[Access], commands: Iterable[str] = ()) -> Permissions:
    """Return what users with these kinds of access together need, and no more.

    A publisher writes to the exchanges of readings and dead letters, and reads the queues of ``commands`` (keys) that
    are its own. A consumer reads from the queues: RabbitMQ asks for ``read`` on the queue for
    ``basic.consume`` and ``basic.get`` and for nothing to acknowledge or return. Neither declares anything: the JMS
    client declares no destination that is marked ``amqp``.
    """
    kinds = set(access)
    if "full" in kinds:
        return FULL
    written = [EXCHANGE, DEAD_LETTER_EXCHANGE] if "publish" in kinds else []
    written += [COMMANDS_EXCHANGE] if "command" in kinds else []
    read = [*QUEUES] if "consume" in kinds else []
    read += [commands_queue(key) for key in sorted(commands)]
    return Permissions(configure="^$", write=_any_of(written), read=_any_of(read))


def exactly(name: str) -> str:
    """Return a regular expression that matches ``name`` alone, in Erlang's syntax as in Python's."""
    return f"^{re.escape(name)}$"


def _any_of(names: Iterable[str]) -> str:
    listed = "|".join(re.escape(name) for name in names)
    return f"^({listed})$" if listed else "^$"
