"""SenML in, readings out: the record, its codecs and its accounting. No I/O."""

from iot_telemetry import accounting, batch, senml
from iot_telemetry.errors import (
    MalformedBatchError,
    MalformedPayloadError,
    MalformedReadingError,
    TelemetryError,
)
from iot_telemetry.reading import Reading

__all__ = [
    "MalformedBatchError",
    "MalformedPayloadError",
    "MalformedReadingError",
    "Reading",
    "TelemetryError",
    "accounting",
    "batch",
    "senml",
]
