"""Telemetry: POST to ``/telemetry`` and below."""

from typing import Final

from iot_gateway.interfaces import Decode
from iot_gateway.listeners.coap import wire
from iot_gateway.listeners.coap.address import Address
from iot_gateway.listeners.coap.options import CoapOptions
from iot_gateway.listeners.coap.security import SECRET
from iot_gateway.listeners.coap.storing import Pending, Storing
from iot_gateway.nodes import AdmissionError, Nodes
from iot_telemetry import senml, senml_cbor

PROTOCOL: Final = "coap"
PATH: Final = "telemetry"

TEXT, JSON, SENML_JSON, SENML_CBOR = 0, 50, 110, 112
DECODERS: Final[dict[int | None, Decode | None]] = {
    None: None,
    TEXT: None,
    JSON: None,
    SENML_JSON: senml.decode,
    SENML_CBOR: senml_cbor.decode,
}
"""By content format; None for what the configuration says of the topic."""


class RefusedError(Exception):
    """A request is not taken."""

    def __init__(self, code: int, diagnostic: str = ""):
        super().__init__(diagnostic)
        self.code = code
        self.diagnostic = diagnostic


class Gate:
    """Who speaks, and what of it is taken."""

    def __init__(self, options: CoapOptions, nodes: Nodes, storing: Storing):
        self.options = options
        self.refused = 0
        """Requests that were not let in, or could not be taken as they were, since the start."""
        self.storing = storing
        self.nodes = nodes

    def plain_node(self, protocol: str, name: str | None, address: Address) -> str:
        """Return the node that names itself, unprotected.

        Raises:
            RefusedError: that is not allowed, or it may not.
        """
        if not self.options.allow_plain:
            raise RefusedError(wire.UNAUTHORIZED, "OSCORE is required")
        if not name:
            raise RefusedError(wire.UNAUTHORIZED, "no node is named")
        known = self.nodes.lookup(name)
        if known is None and self.nodes.throttle.blocks(str(address.peer[0])):
            raise RefusedError(wire.UNAUTHORIZED)
        if known is not None and SECRET in known.keys:
            # Or whoever knows its name could speak for it.
            raise RefusedError(wire.UNAUTHORIZED, "OSCORE is required of this node")
        return self.admit(protocol, name, address)

    def admit(self, protocol: str, name: str, address: Address) -> str:
        """Let a node in.

        Raises:
            RefusedError: it may not.
        """
        try:
            return self.nodes.admit(protocol, name, str(address.peer[0])).name
        except AdmissionError as error:
            raise RefusedError(wire.UNAUTHORIZED) from error

    def offer(self, node: str, path: list[str], content_format: int | None, payload: bytes, pending: Pending) -> None:
        """Take a payload.

        Args:
            node: that sent it.
            path: where it was sent to, behind ``/telemetry``.
            content_format: of the payload.
            payload: as it came.
            pending: the request.

        Raises:
            RefusedError: it can't be taken.
        """
        if content_format not in DECODERS:
            raise RefusedError(wire.UNSUPPORTED_FORMAT, "SenML in JSON (110) or CBOR (112), JSON or text is expected")
        if len(payload) > self.options.max_payload:
            raise RefusedError(wire.TOO_LARGE, f"at most {self.options.max_payload} bytes are taken")
        topic = "/".join((node, *path)) if path else node
        self.storing.offer(node, topic, payload, DECODERS[content_format], pending)
