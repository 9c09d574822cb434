"""What nodes say of their resources, in whichever format, as SenML records of the lake's names."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from iot_gateway.listeners.lwm2m import objects, tlv
from iot_gateway.listeners.lwm2m.objects import Kind, Path
from iot_telemetry import senml, senml_cbor
from iot_telemetry.errors import MalformedPayloadError
from iot_telemetry.senml import SenmlRecord

TEXT, CBOR, SENML_JSON, SENML_CBOR, TLV, TLV_OF_OLD = 0, 60, 110, 112, 11542, 1542
FORMATS: Final = (TEXT, CBOR, SENML_JSON, SENML_CBOR, TLV, TLV_OF_OLD)

Scalar = float | str | bool


class Value(NamedTuple):
    """What a resource holds."""

    path: Path
    value: Scalar
    time: float
    """Seconds since the epoch."""
    unit: str = ""


def read(content_format: int | None, payload: bytes, base: Path, now: float) -> list[Value]:
    """Read what a node says.

    Args:
        content_format: of the payload.
        payload: as it came.
        base: what was asked for; empty for what was not asked for (the Send operation).
        now: seconds since the epoch.

    Raises:
        MalformedPayloadError: it can't be read.
    """
    match content_format:
        case 110:
            return _senml(_json(payload), now)
        case 112:
            return _senml(senml_cbor.read_pack(payload), now)
        case 11542 | 1542:
            return _tlv(tlv.decode(payload), base, now)
        case 0 | None if len(base) == 3:
            return [Value(base, _parse(base, _text(payload)), now)]
        case 60 if len(base) == 3:
            return [Value(base, _scalar(senml_cbor.read_item(payload)), now)]
        case _:
            raise MalformedPayloadError(f"content format {content_format}, which LwM2M does not use here")


def _json(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MalformedPayloadError(f"not JSON: {error}") from error


def _senml(pack: Any, now: float) -> list[Value]:
    """Read a pack whose names are paths (LwM2M 1.1, section 7.4.4): SenML would not have them begin with a slash."""
    if not isinstance(pack, list):
        raise MalformedPayloadError("not a SenML pack: no array")
    records: list[Any] = pack  # pyright: ignore[reportUnknownVariableType]
    # An instance may hold what no reading can, beside what one can: opaque values and links to objects.
    kept = [_rooted(record) for record in records if not (isinstance(record, dict) and {"vd", "vlo"} & set(record))]  # pyright: ignore
    resolved = senml.resolve([{"bn": "p"}, *kept], now)
    found: list[Value] = []
    for record in resolved:
        path = objects.parse_path(record.name[1:])
        if path is None:
            raise MalformedPayloadError(f"{record.name[1:]} is no path of a resource")
        content = next(part for part in (record.value, record.text, record.flag) if part is not None)
        found.append(Value(path, content, record.time, record.unit))
    return found


def _rooted(record: Any) -> Any:
    # "p/3303/0/5700" is a name that SenML allows.
    if isinstance(record, dict) and isinstance(record.get("bn"), str):  # pyright: ignore
        return {**record, "bn": f"p{record['bn']}"}  # pyright: ignore
    return record  # pyright: ignore


def _tlv(entries: Iterable[tlv.Entry], base: Path, now: float) -> list[Value]:
    found: list[Value] = []
    for entry in entries:
        match entry.kind:
            case tlv.Kind.OBJECT_INSTANCE:
                path = (*base[:1], entry.number)
                found += _tlv(entry.entries, path, now)
            case tlv.Kind.RESOURCE:
                path = (*base[:2], entry.number)
                if len(path) != 3:
                    raise MalformedPayloadError("a TLV resource that is of no instance")
                value = _typed(path, entry.value)
                if value is not None:
                    found.append(Value(path, value, now))
            case _:
                pass  # several instances of one resource: no value of a sensor
    return found


def _typed(path: Path, value: bytes) -> Scalar | None:
    """Return a TLV value; None where its type is not known: TLV does not tell it."""
    if path[2] == objects.UNITS:
        return tlv.text(value)
    known = objects.resource(path)
    match known.kind if known else None:
        case Kind.FLOAT:
            return tlv.number(value)
        case Kind.INTEGER:
            return tlv.integer(value)
        case Kind.BOOLEAN:
            return tlv.boolean(value)
        case Kind.STRING:
            return tlv.text(value)
        case None:
            return None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise MalformedPayloadError("not UTF-8") from error


def _parse(path: Path, text: str) -> Scalar:
    """Read a value in plain text (section 7.4.1)."""
    known = objects.resource(path)
    if known is None or known.kind is Kind.STRING:
        return text
    if known.kind is Kind.BOOLEAN:
        if text not in ("0", "1"):
            raise MalformedPayloadError(f"{text[:32]!r} is neither 0 nor 1")
        return text == "1"
    try:
        return float(text)
    except ValueError as error:
        raise MalformedPayloadError(f"{text[:32]!r} is no number") from error


def _scalar(item: Any) -> Scalar:
    value = senml_cbor.as_number(item)
    if isinstance(value, bool | int | float | str):
        return value
    raise MalformedPayloadError("a CBOR value that no reading can hold")


Units = dict[Path, str]
"""What instances say of their units."""


def records(node: str, values: Iterable[Value], units: Units, *, known_only: bool) -> list[SenmlRecord]:
    """Return records of what a node says.

    Args:
        node: that says it.
        values: what it says.
        units: of its instances, as far as they were told; what is told now is added.
        known_only: whether only sensors' and actuators' values are wanted, and not all else that an instance holds.

    Raises:
        MalformedPayloadError: there is none, or a number is no number.
    """
    values = list(values)
    for value in values:
        if len(value.path) == 3 and value.path[2] == objects.UNITS and isinstance(value.value, str):
            units[value.path[:2]] = value.value[:64]
    found: list[SenmlRecord] = []
    for value in values:
        known = objects.resource(value.path)
        if known_only and known is None:
            continue
        name = senml.checked_name("path", f"{node}/{objects.name(value.path)}")
        unit = objects.unit(value.path, value.unit or units.get(value.path[:2], ""))
        if isinstance(value.value, bool):
            found.append(SenmlRecord(name, value.time, unit, flag=value.value))
        elif isinstance(value.value, str):
            found.append(SenmlRecord(name, value.time, unit, text=value.value))
        elif known is not None and known.kind is Kind.BOOLEAN:
            found.append(SenmlRecord(name, value.time, unit, flag=bool(value.value)))
        elif abs(value.value) < float("inf"):
            found.append(SenmlRecord(name, value.time, unit, value=float(value.value)))
        else:
            raise MalformedPayloadError(f"{name} is out of range")
    if not found:
        raise MalformedPayloadError("no value of a sensor or actuator")
    return found


def decoder(
    node: str, content_format: int | None, base: Path, units: Units, *, known_only: bool
) -> Callable[[bytes, float], list[SenmlRecord]]:
    """Return what reads a payload, as :data:`iot_gateway.interfaces.Decode`."""

    def decode(payload: bytes, now: float) -> list[SenmlRecord]:
        return records(node, read(content_format, payload, base, now), units, known_only=known_only)

    return decode
