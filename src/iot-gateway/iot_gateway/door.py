"""Where a listener's payloads come in, counted for each listener."""

from typing import Any

from iot_gateway.interfaces import Decode, Intake, Source


class Door(Intake):
    """The intake of one listener."""

    def __init__(self, intake: Intake):
        self._intake = intake
        self.received = self.malformed = 0

    @property
    def refusal(self) -> str | None:
        """Why no telemetry is stored now; None while all is well."""
        return self._intake.refusal

    def offer(
        self, source: Source, node: str, topic: str, payload: bytes, token: Any, decode: Decode | None = None
    ) -> bool:
        """Take a payload; see :class:`~iot_gateway.interfaces.Intake`."""
        self.received += 1
        if self._intake.offer(source, node, topic, payload, token, decode):
            return True
        self.malformed += 1
        return False

    def bury(self, source: Source, topic: str, payload: bytes, reason: str, token: Any) -> None:
        """Keep a payload that is no reading; see :class:`~iot_gateway.interfaces.Intake`."""
        self.received += 1
        self.malformed += 1
        self._intake.bury(source, topic, payload, reason, token)

    def status(self) -> dict[str, Any]:
        """Return ``payloads`` and ``malformed_payloads`` since the start."""
        return {"payloads": self.received, "malformed_payloads": self.malformed}
