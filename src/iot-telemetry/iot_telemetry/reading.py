"""The reading: one measured value, resolved and placed, as it travels from the gateway to the lake."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

from iot_telemetry.errors import MalformedReadingError


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

    def to_line(self) -> bytes:
        """Return the reading as one line of JSON, without the newline; fields that it does not have are left out."""
        fields: dict[str, Any] = {
            "time": self.time,
            "site": self.site,
            "gateway": self.gateway,
            "node": self.node,
            "sensor": self.sensor,
        }
        if self.unit:
            fields["unit"] = self.unit
        if self.value is not None:
            fields["value"] = self.value
        if self.text is not None:
            fields["text"] = self.text
        if self.flag is not None:
            fields["flag"] = self.flag
        if self.seq is not None:
            fields["seq"] = self.seq
        fields["received"] = self.received
        return orjson.dumps(fields)

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
            )
        except orjson.JSONDecodeError as error:
            raise MalformedReadingError(f"not JSON: {error}") from error
        except KeyError as error:
            raise MalformedReadingError(f"no {error.args[0]}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise MalformedReadingError(f"not a reading: {error}") from error
