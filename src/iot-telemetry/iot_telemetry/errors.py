"""What can be wrong with telemetry that came from outside."""


class TelemetryError(Exception):
    """Base of the package's own errors."""


class MalformedPayloadError(TelemetryError):
    """A payload is no SenML pack that can be turned into readings."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
        """One line, fit to be shown to an operator and kept beside the payload."""


class MalformedReadingError(TelemetryError):
    """A line is no reading."""


class MalformedBatchError(TelemetryError):
    """The body of a batch can't be decoded."""
