"""SenML in CBOR (RFC 8428, section 6): the same packs with integers for labels.

The extension label ``seq`` has no integer of its own and travels as text.
"""

from collections.abc import Iterable
from decimal import Decimal
from io import BytesIO
from typing import Any

import cbor2

from iot_telemetry import senml
from iot_telemetry.errors import MalformedPayloadError
from iot_telemetry.senml import SenmlRecord

LABELS = {
    -1: "bver",
    -2: "bn",
    -3: "bt",
    -4: "bu",
    -5: "bv",
    -6: "bs",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
}
"""Table 4."""
_NUMBERS = {label: number for number, label in LABELS.items()}


def decode(payload: bytes, now: float) -> list[SenmlRecord]:
    """Read a pack and resolve its records; see :func:`iot_telemetry.senml.decode`.

    Raises:
        MalformedPayloadError: it is no valid pack.
    """
    return senml.resolve(read_pack(payload), now)


def read_pack(payload: bytes) -> list[dict[str, Any]]:
    """Read a pack's records, each with the labels of JSON, not resolved.

    Raises:
        MalformedPayloadError: it is no array of maps.
    """
    pack = read_item(payload)
    if not isinstance(pack, list):
        raise MalformedPayloadError("not a SenML pack: no CBOR array")
    records: list[Any] = pack  # pyright: ignore[reportUnknownVariableType]
    return [_named(index, record) for index, record in enumerate(records)]


def read_item(payload: bytes) -> Any:
    """Read one item of CBOR, whatever it is.

    Raises:
        MalformedPayloadError: it is none, or something is behind it.
    """
    stream = BytesIO(payload)
    try:
        item: Any = cbor2.CBORDecoder(stream).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise MalformedPayloadError(f"not CBOR: {error}") from error
    if stream.tell() != len(payload):
        raise MalformedPayloadError(f"{len(payload) - stream.tell()} bytes behind the CBOR item")
    return item


def _named(index: int, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise MalformedPayloadError(f"record {index}: not a CBOR map")
    named: dict[str, Any] = {}
    for label, content in record.items():  # pyright: ignore[reportUnknownVariableType]
        # Section 6: an unknown integer label may be ignored.
        name = LABELS.get(label, "") if label.__class__ is int else str(label)  # pyright: ignore
        if name in named:
            raise MalformedPayloadError(f"record {index}: {name} is there twice")
        if name:
            named[name] = as_number(content)
    return named


def as_number(content: Any) -> Any:
    """Return a decimal fraction (tag 4), which a number may be (section 6), as a float; anything else as it is."""
    return float(content) if content.__class__ is Decimal else content


def encode(records: Iterable[SenmlRecord]) -> bytes:
    """Write a pack of resolved records."""
    pack: list[dict[int | str, Any]] = []
    for record in records:
        fields: dict[int | str, Any] = {_NUMBERS["n"]: record.name, _NUMBERS["t"]: record.time}
        if record.unit:
            fields[_NUMBERS["u"]] = record.unit
        for label, content in (("v", record.value), ("vs", record.text), ("vb", record.flag)):
            if content is not None:
                fields[_NUMBERS[label]] = content
        if record.seq is not None:
            fields["seq"] = record.seq
        pack.append(fields)
    return cbor2.dumps(pack)
