"""How a payload is read where its transport says what it is, or its first byte does."""

from typing import Final

from iot_gateway.interfaces import Decode
from iot_telemetry import senml, senml_cbor

_MEDIA_TYPES: Final[dict[str, Decode]] = {
    "application/senml+json": senml.decode,
    "application/senml+cbor": senml_cbor.decode,
}
"""RFC 8428, section 12.3."""
_CBOR_ARRAYS: Final = range(0x80, 0xA0)


def decoder(payload: bytes, media_type: str = "") -> Decode | None:
    """Return what reads a payload; None for what the configuration says of its topic."""
    named = _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower())
    if named is None and payload and payload[0] in _CBOR_ARRAYS:
        return senml_cbor.decode
    return named
