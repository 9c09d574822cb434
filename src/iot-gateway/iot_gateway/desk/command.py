"""A command to a node, and the states that it goes through."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import orjson
from msgspec import Meta, field

from iot_gateway.desk.errors import CommandError
from iot_gateway.nodes import NAME
from iot_gateway.shapes import Shape, ShapeError

Value = float | str | bool | None
"""What the target is to become; None has it executed, where there is nothing to set."""

DEFAULT_TTL, MOST_TTL = 3600.0, 30 * 86400.0
"""Seconds that a command is worth delivering."""


class State(StrEnum):
    """Where a command stands."""

    QUEUED = "queued"
    """It waits for its node, or for an earlier command to the same target."""
    SENT = "sent"
    """It was handed to the transport."""
    ACKNOWLEDGED = "acknowledged"
    """The node has it."""
    APPLIED = "applied"
    """The node did it."""
    EXPIRED = "expired"
    """Its time was up before it was applied."""
    REFUSED = "refused"
    """The node, or its protocol, does not take it."""
    FAILED = "failed"
    """The node took it and could not do it."""
    CANCELLED = "cancelled"
    """It was taken back."""

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in _FINAL


_FINAL = frozenset({State.APPLIED, State.EXPIRED, State.REFUSED, State.FAILED, State.CANCELLED})
_ORDER = {State.QUEUED: 0, State.SENT: 1, State.ACKNOWLEDGED: 2}

_Value = float | bool | Annotated[str, Meta(max_length=4096)] | None
_Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[\x20-\x7e]+\Z")]


class _Given(Shape, frozen=True, kw_only=True):
    """What someone asks of the desk."""

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read what was given.

        Raises:
            CommandError: it is no such thing; the text names the field and what is allowed.
        """
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise CommandError(f"command: not JSON: {error}") from error
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what was given, as :meth:`from_json`.

        Raises:
            CommandError: it is no such thing.
        """
        try:
            return cls.read(fields)
        except ShapeError as error:
            raise _refusal(error, fields) from error


def _refusal(error: ShapeError, fields: Any) -> CommandError:
    where = error.field
    # JSON may be anything.
    given = f"={fields[where]!r}" if isinstance(fields, Mapping) and where in fields else ""
    reason = "a number, true or false, a text of at most 4096 characters, or null" if where == "value" else error.reason
    return CommandError(f"{where or 'command'}{given}: {reason}")


class CommandRequest(_Given, frozen=True, kw_only=True):
    """A command as it is given: by an action, a message, the panel."""

    id: _Text = field(default_factory=lambda: str(uuid.uuid4()))
    """The giver's; the same command given twice under it is one command."""
    node: Annotated[str, Meta(pattern=NAME)]
    target: _Text
    """The sensor's or actuator's name at the node, or the path of an LwM2M resource: ``light``, ``/3311/0/5851``."""
    value: _Value = None
    ttl: Annotated[float, Meta(gt=0, le=MOST_TTL)] = DEFAULT_TTL
    """Seconds."""
    given: float | None = None
    """When it was given, seconds since the epoch, from when ``ttl`` counts; without it, from when it is taken."""
    origin: Annotated[str, Meta(max_length=256)] = ""
    """Who gave it, for whoever reads the list."""


class NodeReport(_Given, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What a node says of a command: the JSON that it sends back, whatever the transport."""

    id: _Text
    state: Literal["acknowledged", "applied", "refused", "failed"]
    reason: Annotated[str, Meta(max_length=1024)] = ""


class CommandFilter(_Given, frozen=True, kw_only=True):
    """Which commands are to be listed."""

    node: str = ""
    state: str = ""
    """A :class:`State`, or empty for all."""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100

    def __post_init__(self) -> None:
        """Check the state."""
        if self.state and self.state not in list(State):
            raise ValueError(f"state={self.state!r}: one of {', '.join(State)} is expected")


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a command's state."""

    time: float
    """Seconds since the epoch."""
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command and how it has fared so far."""

    id: str
    node: str
    target: str
    value: Value
    created: float
    expires: float
    """Seconds since the epoch."""
    origin: str
    steps: tuple[Step, ...]

    @classmethod
    def new(cls, request: CommandRequest, now: float) -> "Command":
        """Return the queued command of a request."""
        return cls(
            request.id,
            request.node,
            request.target,
            request.value,
            now,
            now + request.ttl if request.given is None else min(now, request.given) + request.ttl,
            request.origin,
            (Step(now, State.QUEUED),),
        )

    @property
    def state(self) -> State:
        """The state it is in."""
        return self.steps[-1].state

    def follows(self, state: State) -> bool:
        """Tell whether ``state`` may come next: never backwards, and nothing after an end."""
        if self.state.is_final:
            return False
        return state.is_final or _ORDER[state] > _ORDER[self.state]

    def after(self, step: Step) -> "Command":
        """Return the command with a further step."""
        return replace(self, steps=(*self.steps, step))

    def is_same(self, request: CommandRequest) -> bool:
        """Tell whether a request asks for this command again."""
        return (self.node, self.target, self.value) == (request.node, request.target, request.value)

    def as_dict(self) -> dict[str, Any]:
        """Return what lists and actions show."""
        return {
            "id": self.id,
            "node": self.node,
            "target": self.target,
            "value": self.value,
            "state": str(self.state),
            "reason": self.steps[-1].reason,
            "created": round(self.created, 3),
            "expires": round(self.expires, 3),
            "origin": self.origin,
            "steps": [
                {"time": round(step.time, 3), "state": str(step.state), "reason": step.reason} for step in self.steps
            ],
        }

    def for_node(self) -> bytes:
        """Return what the node is sent, in JSON: id, target, value, and when it expires (s since the epoch)."""
        return orjson.dumps({"id": self.id, "target": self.target, "value": self.value, "expires": self.expires})

    def to_line(self, step: Step, site: str, gateway: str, received: float) -> bytes:
        """Return a change of state as a line of the lake: a reading of the target, with the command beside it.

        Its sensor is ``command/<target>``, its text the state; ``command``, ``reason`` and ``wanted`` (JSON) come on
        top of what every reading has.
        """
        return orjson.dumps(
            {
                "time": step.time,
                "site": site,
                "gateway": gateway,
                "node": self.node,
                "sensor": f"command/{self.target}",
                "text": str(step.state),
                "received": received,
                "command": self.id,
                "reason": step.reason,
                "wanted": orjson.dumps(self.value).decode(),
            }
        )
