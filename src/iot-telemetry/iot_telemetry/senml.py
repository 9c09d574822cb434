"""SenML in JSON (RFC 8428): packs are read into resolved records, and written from them.

Of the RFC's value kinds, a reading can hold a number (``v``), a string (``vs``) and a boolean (``vb``). A record that
holds only data (``vd``) or only a sum (``s``) is refused with that reason, not passed over.

One extension label (section 4.4) is known: ``seq``, an integer by which a node counts what it sends of one sensor.
"""

import re
from collections.abc import Iterable
from math import isfinite
from typing import Any, NamedTuple

import orjson

from iot_telemetry.errors import MalformedPayloadError

CONTENT_TYPE = "application/senml+json"
VERSION = 10
"""The version of SenML that is spoken (section 4.1, bver)."""
RELATIVE_TIME_LIMIT = 2**28
"""Times below it are relative to now (section 4.5.3)."""
LATEST_TIME = 253_402_300_800.0
"""The year 10000: a later time is a fault of the node, and no date that a file system or SQL engine could hold."""
MAX_NAME = 256
MAX_RECORDS = 10_000
"""Records in one pack."""
_MAX_SEQ = 2**63 - 1

_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9:./_]*")
"""Section 4.5.1: the characters of a resolved name, and those that it may start with."""


class SenmlRecord(NamedTuple):
    """A resolved record (RFC 8428, section 4.6): no base fields, an absolute time.

    Exactly one of ``value``, ``text`` and ``flag`` is given.
    """

    name: str
    time: float
    """Seconds since the epoch."""
    unit: str = ""
    value: float | None = None
    text: str | None = None
    flag: bool | None = None
    seq: int | None = None


def decode(payload: bytes, now: float) -> list[SenmlRecord]:
    """Read a pack and resolve its records.

    Args:
        payload: a SenML pack in JSON.
        now: seconds since the epoch, for records whose time is relative.

    Raises:
        MalformedPayloadError: it is no valid pack, or holds what a reading can't; none of its records is to be used.
    """
    try:
        pack = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MalformedPayloadError(f"not JSON: {error}") from error
    if not isinstance(pack, list):
        raise MalformedPayloadError("not a SenML pack: no JSON array")
    return resolve(pack, now)  # pyright: ignore[reportUnknownArgumentType]


def resolve(pack: list[Any], now: float) -> list[SenmlRecord]:
    """Resolve the records of a pack whose labels are those of JSON, in whatever encoding it came.

    Raises:
        MalformedPayloadError: it is no valid pack.
    """
    if not pack:
        raise MalformedPayloadError("an empty SenML pack")
    if len(pack) > MAX_RECORDS:
        raise MalformedPayloadError(f"{len(pack)} records in one pack, at most {MAX_RECORDS} are allowed")
    base_name, base_unit, base_time, base_value = "", "", 0.0, 0.0
    resolved: list[SenmlRecord] = []
    for index, fields in enumerate(pack):
        if not isinstance(fields, dict):
            raise MalformedPayloadError(f"record {index}: not a JSON object")
        name, unit, seq = "", None, None
        time = value = None
        text, flag = None, None
        for label, content in fields.items():  # pyright: ignore[reportUnknownVariableType]
            match label:
                case "n":
                    name = _string(index, "n", content)
                case "v":
                    value = _number(index, "v", content)
                case "u":
                    unit = _string(index, "u", content)
                case "t":
                    time = _number(index, "t", content)
                case "seq":
                    seq = _integer(index, "seq", content)
                case "bn":
                    base_name = _string(index, "bn", content)
                case "bt":
                    base_time = _number(index, "bt", content)
                case "bu":
                    base_unit = _string(index, "bu", content)
                case "bv":
                    base_value = _number(index, "bv", content)
                case "vs":
                    text = _string(index, "vs", content)
                case "vb":
                    if not isinstance(content, bool):
                        raise MalformedPayloadError(f"record {index}: vb is not true or false")
                    flag = content
                case "bver":
                    if _number(index, "bver", content) != VERSION:
                        raise MalformedPayloadError(f"record {index}: SenML version {content!r}, not {VERSION}")
                case "vd":
                    raise MalformedPayloadError(f"record {index}: a data value (vd), which no reading can hold")
                case "s" | "bs" | "ut":
                    _number(index, "s, bs or ut", content)  # checked; a reading does not carry it
                case unknown:  # pyright: ignore[reportUnknownVariableType]
                    # Section 4.4: an unknown label may be ignored, unless it ends in an underscore.
                    if str(unknown).endswith("_"):  # pyright: ignore[reportUnknownArgumentType]
                        raise MalformedPayloadError(f"record {index}: {unknown} must be understood and is not")
        values = (value is not None) + (text is not None) + (flag is not None)
        if values != 1:
            if not values and not name and seq is None and time is None and unit is None and "s" not in fields:
                continue  # base fields alone: they hold for the records that follow
            raise MalformedPayloadError(f"record {index}: {'no value' if not values else 'more than one value'}")
        resolved.append(
            SenmlRecord(
                _checked_name(index, base_name + name),
                _absolute(index, base_time + (time or 0.0), now),
                base_unit if unit is None else unit,
                value if value is None else base_value + value,
                text,
                flag,
                seq,
            )
        )
    if not resolved:
        raise MalformedPayloadError("a SenML pack without a value")
    return resolved


def _string(index: int, label: str, content: Any) -> str:
    if not isinstance(content, str):
        raise MalformedPayloadError(f"record {index}: {label} is not a string")
    return content


def _number(index: int, label: str, content: Any) -> float:
    if content.__class__ is not float and content.__class__ is not int:
        raise MalformedPayloadError(f"record {index}: {label} is not a number")
    number = float(content)
    if not isfinite(number):
        raise MalformedPayloadError(f"record {index}: {label} is out of range")
    return number


def _integer(index: int, label: str, content: Any) -> int:
    if content.__class__ is not int or not 0 <= content <= _MAX_SEQ:
        raise MalformedPayloadError(f"record {index}: {label} is not an integer from 0 to 2^63 - 1")
    return content


def _checked_name(index: int, name: str) -> str:
    if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
        return name
    return checked_name(f"record {index}", name)


def checked_name(what: str, name: str) -> str:
    """Return a resolved name as it is, if SenML allows it (section 4.5.1).

    Args:
        what: has that name, for the error.
        name: the name.

    Raises:
        MalformedPayloadError: it is empty, too long, or has characters that are not allowed.
    """
    if not name:
        raise MalformedPayloadError(f"{what}: no name")
    if len(name) > MAX_NAME:
        raise MalformedPayloadError(f"{what}: a name longer than {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise MalformedPayloadError(f"{what}: the name {name!r} has characters that SenML does not allow")
    return name


def _absolute(index: int, time: float, now: float) -> float:
    if RELATIVE_TIME_LIMIT <= time < LATEST_TIME:
        return time
    return absolute_time(f"record {index}", time, now)


def absolute_time(what: str, time: float, now: float) -> float:
    """Return a time in seconds since the epoch; one that is small is relative to now (section 4.5.3).

    Raises:
        MalformedPayloadError: it is no date.
    """
    if time < RELATIVE_TIME_LIMIT:
        time += now
    if not 0.0 <= time < LATEST_TIME:
        raise MalformedPayloadError(f"{what}: the time {time:.0f} is no date")
    return time


def encode(records: Iterable[SenmlRecord], *, base_name: str = "", base_time: float = 0.0) -> bytes:
    """Write a pack.

    Args:
        records: resolved records; a name that starts with ``base_name`` is shortened by it.
        base_name: goes into the first record (``bn``); every record's name must start with it.
        base_time: seconds since the epoch (``bt``); times are written relative to it.

    Raises:
        ValueError: a record's name does not start with ``base_name``, or a number is not finite.
    """
    pack: list[dict[str, Any]] = []
    base: dict[str, Any] = {}
    if base_name:
        base["bn"] = base_name
    if base_time:
        base["bt"] = base_time
    for record in records:
        if not record.name.startswith(base_name):
            raise ValueError(f"the name {record.name} does not start with {base_name}")
        fields, base = base, {}
        if len(record.name) > len(base_name):
            fields["n"] = record.name[len(base_name) :]
        if record.unit:
            fields["u"] = record.unit
        if record.time != base_time:
            # Microseconds: the subtraction of two floats would otherwise write 17 digits of noise.
            fields["t"] = round(record.time - base_time, 6)
        if record.value is not None:
            if not isfinite(record.value):
                raise ValueError(f"{record.name}: SenML has no way to write {record.value}")
            fields["v"] = record.value
        elif record.text is not None:
            fields["vs"] = record.text
        elif record.flag is not None:
            fields["vb"] = record.flag
        if record.seq is not None:
            fields["seq"] = record.seq
        pack.append(fields)
    return orjson.dumps(pack)
