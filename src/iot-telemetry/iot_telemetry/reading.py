"""The reading: one measured value, resolved and placed, as it travels from the gateway to the lake."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

from iot_telemetry.errors import MalformedReadingError


def line(
    time: float,
    site: str,
    gateway: str,
    node: str,
    sensor: str,
    unit: str,
    value: float | None,
    text: str | None,
    flag: bool | None,
    seq: int | None,
    received: float,
) -> bytes:
    """Return a reading's line without making the :class:`Reading`: the gateway writes tens of thousands a second."""
    fields: dict[str, Any] = {"time": time, "site": site, "gateway": gateway, "node": node, "sensor": sensor}
    if unit:
        fields["unit"] = unit
    if value is not None:
        fields["value"] = value
    if text is not None:
        fields["text"] = text
    if flag is not None:
        fields["flag"] = flag
    if seq is not None:
        fields["seq"] = seq
    fields["received"] = received
    return orjson.dumps(fields)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one sensor at one time.

    Exactly one of ``value``, ``text`` and ``flag`` is given. Times are seconds since the epoch, UTC.
    """

    time: float
    """When it was measured."""
    site: str
    gateway: str
    node: str
    sensor: str
    unit: str
    """A symbol of the SenML units registry (RFC 8428, section 12.1); empty where the value has none."""
    value: float | None
    text: str | None
    flag: bool | None
    seq: int | None
    """Position in the count that the node keeps for this sensor, from 0; None where it does not count."""
    received: float
    """When the gateway had it."""
    command: str | None = None
    """Of a line that tells of a command, its identifier: such a line is no measurement. ``sensor`` then is
    ``command/<target>``, ``text`` the state that the command came into, ``time`` when."""
    reason: str | None = None
    """Why the command came into that state."""
    wanted: str | None = None
    """What the command wants of its target, in JSON."""

    def to_line(self) -> bytes:
        """Return the reading as one line of JSON, without the newline; fields that it does not have are left out."""
        told = {"command": self.command, "reason": self.reason, "wanted": self.wanted}
        extra = {name: value for name, value in told.items() if value is not None}
        made = self._measured_line()
        return made[:-1] + b"," + orjson.dumps(extra)[1:] if extra else made

    def _measured_line(self) -> bytes:
        return line(
            self.time,
            self.site,
            self.gateway,
            self.node,
            self.sensor,
            self.unit,
            self.value,
            self.text,
            self.flag,
            self.seq,
            self.received,
        )

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read what :meth:`to_line` wrote.

        Raises:
            MalformedReadingError: the line is no JSON object, or lacks a field that every reading has.
        """
        try:
            fields = orjson.loads(line)
            return cls(
                time=float(fields["time"]),
                site=fields["site"],
                gateway=fields["gateway"],
                node=fields["node"],
                sensor=fields["sensor"],
                unit=fields.get("unit", ""),
                value=fields.get("value"),
                text=fields.get("text"),
                flag=fields.get("flag"),
                seq=fields.get("seq"),
                received=float(fields["received"]),
                command=fields.get("command"),
                reason=fields.get("reason"),
                wanted=fields.get("wanted"),
            )
        except orjson.JSONDecodeError as error:
            raise MalformedReadingError(f"not JSON: {error}") from error
        except KeyError as error:
            raise MalformedReadingError(f"no {error.args[0]}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise MalformedReadingError(f"not a reading: {error}") from error
